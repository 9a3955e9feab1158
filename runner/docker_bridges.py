"""A bridge kept ready: a network like any that Docker makes for a container, made before a program needs one.

On older Docker engines a third of the time that a start takes goes into making its network. While nothing else is started, one
is made in a container that does nothing. The next program that starts in a container of its own runs in that network, nobody
after it does, and both go together: no connection of one program is ever seen by another.
"""

import asyncio
import secrets
import time

import structlog
from aiodocker.exceptions import DockerError

from runner.container_config import Joint
from runner.docker_creation import create
from runner.docker_networks import DockerNetworks
from runner.errors import CannotRun, EngineUnavailable
from runner.run_spec import RunSpec
from runner.sandbox_config import PREFIX, bridge_body
from runner.start_gate import Priority
from runner.waiting import cancel
from schemas.failpoints import failpoint
from schemas.programs import Network

log = structlog.get_logger()

#: Seconds without a start after which one is made: who comes now is more likely to come alone.
_CALM_SECONDS = 0.5
#: Seconds after one could not be made before the next is tried.
_PAUSE_SECONDS = 30.0
_HEAVY_CALL_SECONDS = 120.0
#: Seconds that is waited at the end for the one that is left to be removed; Docker goes on with what it was asked for.
_CLOSE_SECONDS = 2.0


class DockerBridges:
    """Those of one runner on one engine: one that is ready, and those that programs are in."""

    def __init__(self, networks: DockerNetworks) -> None:
        self._networks = networks
        self._connection = networks.connection
        self._gate = networks.gate
        #: Names of all that are there or are being made.
        self._all: set[str] = set()
        #: The one that waits for a program.
        self._ready: tuple[str, Joint] | None = None
        #: Those that a program is in, by the name of its container.
        self._taken: dict[str, tuple[str, Joint]] = {}
        #: Monotonic times: of the last program that could have used one, and before which none is made after one failed.
        self._asked_at = self._not_before = 0.0
        self._keeper: asyncio.Task[None] | None = None
        self._removals: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def in_use(self) -> frozenset[str]:
        """Names of the containers that nobody else may remove."""
        return frozenset(self._all)

    async def take(self, container: str, spec: RunSpec) -> Joint | None:
        """The one that is ready, for this container alone; ``None`` where it is to be made without. The next is made soon."""
        if spec.network is not Network.BRIDGE or self._is_closed or not self._networks.are_wanted():
            return None
        self._asked_at = time.monotonic()
        if container not in self._taken and self._ready is not None:
            self._taken[container], self._ready = self._ready, None
        self._keep_soon()
        if (taken := self._taken.get(container)) is None:
            return None
        name, joint = taken
        if not await self._runs(name):
            self.give_back(container)
            return None
        return joint

    def give_back(self, container: str) -> None:
        """This container is gone, or was never made: so goes its network. Safe to repeat."""
        if (taken := self._taken.pop(container, None)) is not None:
            self._discard(taken[0])

    async def close(self) -> None:
        """Remove the one that no program is in. Safe to repeat."""
        self._is_closed = True
        if self._keeper is not None:
            await cancel(self._keeper)
        for name in self._all - {name for name, _ in self._taken.values()}:
            self._discard(name)
        if self._removals:
            await asyncio.wait(self._removals, timeout=_CLOSE_SECONDS)
            await cancel(*self._removals)
        self._all.clear()

    def _keep_soon(self) -> None:
        if self._keeper is None and self._ready is None and time.monotonic() >= self._not_before:
            self._keeper = asyncio.create_task(self._keep(), name="keep a bridge ready")
            self._keeper.add_done_callback(self._kept)

    async def _runs(self, name: str) -> bool:
        """Whether it still does: Docker may have been restarted, or somebody have removed it."""
        try:
            async with self._connection.call("looking at a network") as docker:
                return bool((await docker.containers.container(name).show())["State"]["Running"])
        except (DockerError, EngineUnavailable):
            return False

    async def _keep(self) -> None:
        """Make one as soon as nothing else is started."""
        while True:
            left = self._asked_at + _CALM_SECONDS - time.monotonic()
            if left <= 0 and not self._gate.taken:
                break
            await asyncio.sleep(left if left > 0 else _CALM_SECONDS)
        name = f"{PREFIX}{secrets.token_hex(6)}"
        # Said before it is made, so that it is never taken for a stray.
        self._all.add(name)
        try:
            self._ready = name, await self._make(name)
        except (EngineUnavailable, CannotRun, DockerError) as error:
            self._not_before = time.monotonic() + _PAUSE_SECONDS
            log.warning("no bridge is kept ready", action="bridge_not_made", error=str(error))
            self._discard(name)

    async def _make(self, name: str) -> Joint:
        body = bridge_body(await self._networks.image_id(), self._networks.identity)
        async with (
            self._gate.start(Priority.REFILL),
            self._connection.call("making a network", _HEAVY_CALL_SECONDS) as docker,
        ):
            container = await create(docker, body, name)
            failpoint("docker.bridge_created")
        async with (
            self._gate.start(Priority.REFILL),
            self._connection.call("starting a network", _HEAVY_CALL_SECONDS) as docker,
        ):
            await container.start()
            failpoint("docker.bridge_started")
        # Its files are the program's own, as they would be in a container with a network of its own.
        return Joint(container.id, ())

    def _kept(self, keeper: asyncio.Task[None]) -> None:
        self._keeper = None
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            log.error("no bridge is kept ready any more", action="bridge_keeper_died", exc_info=error)

    def _discard(self, name: str) -> None:
        task = asyncio.create_task(self._remove(name), name=f"remove {name}")
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    async def _remove(self, name: str) -> None:
        if await self._networks.remove(name):
            failpoint("docker.bridge_removed")
        self._all.discard(name)
