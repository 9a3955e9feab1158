"""Both buses, real ones, for tests of what they promise alike."""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from bus.open import EMBEDDED, make_bus
from bus.ports import Bus
from tests.support.broker import Broker

POOLS = frozenset({"default"})


class Buses:
    """Makes open buses that see each other, as those of several processes do, and closes them."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder
        self._numbers = count()
        self._made: list[Bus] = []

    @property
    def most(self) -> int:
        """How many may be open at once."""
        return 1 if self.url == EMBEDDED else 4

    def make(self, *, state: str | None = None) -> Bus:
        """A bus that is not open. Those with the same ``state`` share a state directory, one after the other."""
        name = state or ("only" if self.url == EMBEDDED else f"process-{next(self._numbers)}")
        state_dir = self._folder / name
        state_dir.mkdir(exist_ok=True)
        bus = make_bus(self.url, state_dir=state_dir, name=f"test {name}")
        self._made.append(bus)
        return bus

    async def open(self, *, pools: frozenset[str] = POOLS, state: str | None = None) -> Bus:
        """A bus that is open."""
        bus = self.make(state=state)
        await bus.open(pools)
        return bus

    async def reopen(self, bus: Bus) -> Bus:
        """Another bus, as of the next process, after this one was closed."""
        await bus.close()
        return await self.open()

    async def close(self) -> None:
        """Close all."""
        for bus in self._made:
            await bus.close()


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=[pytest.mark.docker, pytest.mark.rabbitmq])])
async def buses(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Buses]:
    """Buses of each kind."""
    if request.param == "embedded":
        url = EMBEDDED
    else:
        broker: Broker = request.getfixturevalue("broker")
        url = broker.new_vhost_url()
    buses = Buses(url, tmp_path)
    yield buses
    await buses.close()


@pytest.fixture
async def bus(buses: Buses) -> Bus:
    """An open bus of each kind."""
    return await buses.open()


@pytest.fixture
async def rabbits(amqp_url: str, tmp_path: Path) -> AsyncIterator[Buses]:
    """Buses on RabbitMQ."""
    buses = Buses(amqp_url, tmp_path)
    yield buses
    await buses.close()


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Buses]:
    """Buses on a file."""
    buses = Buses(EMBEDDED, tmp_path)
    yield buses
    await buses.close()
