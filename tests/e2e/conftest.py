"""One hub per bus for the whole module, real in every part; programs are written into its folder beforehand."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.programs import write_programs
from tests.support.api import Api
from tests.support.broker import Broker
from tests.support.hub_process import HubProcess


@pytest.fixture(scope="module", params=["embedded", "rabbitmq"])
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A running hub: all in one process on the embedded bus, and gateway and runner apart on RabbitMQ."""
    folder = tmp_path_factory.mktemp("hub")
    if request.param == "embedded":
        hub = HubProcess(folder)
    else:
        broker: Broker = request.getfixturevalue("broker")
        hub = HubProcess(folder, parts=("gateway", "runner"), bus_url=broker.new_vhost_url())
    write_programs(hub)
    yield from started(hub)


@pytest.fixture
def make_hub(tmp_path: Path) -> Iterator["HubMaker"]:
    """Hubs of a test's own."""
    maker = HubMaker(tmp_path)
    yield maker
    for hub in maker.hubs:
        hub.close()


class HubMaker:
    """Makes hubs in folders below one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.hubs: list[HubProcess] = []

    def __call__(self, *, bus_url: str = "embedded", parts: tuple[str, ...] = ("up",), **variables: str) -> HubProcess:
        """A hub with its programs, not started."""
        folder = self._folder / f"hub{len(self.hubs)}"
        folder.mkdir()
        hub = HubProcess(folder, parts=parts, bus_url=bus_url, **variables)
        write_programs(hub)
        self.hubs.append(hub)
        return hub


def started(hub: HubProcess) -> Iterator[HubProcess]:
    """Start, hand out, close."""
    try:
        hub.start()
        yield hub
    finally:
        hub.close()


@asynccontextmanager
async def user_of(hub: HubProcess) -> AsyncIterator[Api]:
    """Start this hub, and be a user of it who has logged in; in the end it is gone."""
    hub.start()
    try:
        async with aiohttp.ClientSession(hub.address) as session:
            api = Api(session)
            await api.log_in()
            yield api
    finally:
        hub.close()


@pytest.fixture
async def api(hub: HubProcess) -> AsyncIterator[Api]:
    """A user of the module's hub who has logged in."""
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        yield api


@pytest.fixture
async def stranger(hub: HubProcess) -> AsyncIterator[Api]:
    """A user who has not."""
    async with aiohttp.ClientSession(hub.address) as session:
        yield Api(session)
