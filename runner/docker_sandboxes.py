"""Network sandboxes: networks of nothing but a loopback interface, made beforehand and used by one program after the other.

On older Docker engines most of the time that a start takes without a network goes into making that network. A sandbox has one
ready. It is as good as new for the next program: sockets go with the processes that hold them, and the container of the one
before is gone. What could outlive them (connections in their last wait, counters) is only there where something was sent over
the loopback interface, and a sandbox in which a single packet was sent is never used again. Nobody in it may change its
interfaces or settings, and the three files that Docker has all share who share a network are mounted read-only.

There are as many as programs have wanted at once, made when one was missed; who misses one is run without and does not wait.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiodocker import Docker
from aiodocker.exceptions import DockerError

from runner import labels
from runner.container_config import Joint
from runner.docker_creation import create
from runner.docker_networks import DockerNetworks
from runner.docker_output import DockerOutput
from runner.engine import Frame
from runner.errors import CannotRun, EngineUnavailable
from runner.run_spec import RunSpec
from runner.sandbox_config import PREFIX, joined, joint_of, packets_of, sandbox_body
from runner.start_gate import Priority
from runner.waiting import cancel
from schemas.failpoints import failpoint
from schemas.programs import Network

log = structlog.get_logger()

#: Sandboxes at most; a runner that runs more programs at once runs the others without.
_MOST = 32
#: Programs that are remembered for using the loopback interface.
_MOST_TALKATIVE = 1_000
#: Seconds in which a sandbox must answer.
_ANSWER_SECONDS = 1.0
#: Seconds after a sandbox could not be made before the next is tried: at first, and after many in a row.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0
_HEAVY_CALL_SECONDS = 120.0
#: Seconds that is waited at the end for all to be removed; Docker goes on with what it was asked for.
_CLOSE_SECONDS = 2.0


@dataclass
class _Sandbox:
    """One of them, and the line to it."""

    name: str
    output: DockerOutput
    joint: Joint | None = None
    asked: int = 0
    frames: AsyncGenerator[Frame, None] | None = field(default=None)

    async def packets(self) -> int | None:
        """How many were sent in it so far; ``None`` where it does not answer."""
        self.asked += 1
        if self.frames is None:
            self.frames = self.output.live()
        answer = bytearray()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self.output.tell(f"{self.asked}\n".encode())
                while not answer.endswith(b"\n"):
                    frame = await anext(self.frames, None)
                    if frame is None:
                        return None
                    answer += frame.content
        except (TimeoutError, EngineUnavailable):
            return None
        return packets_of(bytes(answer), self.asked)

    async def let_go(self) -> None:
        """Close the line to it. Safe to repeat."""
        frames, self.frames = self.frames, None
        if frames is not None:
            await frames.aclose()
        await self.output.close()


class DockerSandboxes:
    """Those of one runner on one engine."""

    def __init__(self, networks: DockerNetworks) -> None:
        self._networks = networks
        self._connection = networks.connection
        self._gate = networks.gate
        #: All that are there or are being made, by their containers' names …
        self._all: dict[str, _Sandbox] = {}
        #: … those that wait for a program, the one used last at the end …
        self._free: list[_Sandbox] = []
        #: … and those that a container of a program is in, by its name.
        self._taken: dict[str, _Sandbox] = {}
        #: Containers in hand that could use one → their programs.
        self._users: dict[str, str] = {}
        #: Programs that send over the loopback interface: they would use up a sandbox each time.
        self._talkative: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._not_before = 0.0
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._closed = False

    @property
    def in_use(self) -> frozenset[str]:
        """Names of the containers that nobody else may remove."""
        return frozenset(self._all)

    async def take(self, container: str, spec: RunSpec, *, is_busy: bool = True) -> Joint | None:
        """A sandbox for this container alone until it is given back; ``None`` where it is to be made without.

        Where it ``is_busy``, one more is made for the next that misses one.
        """
        if spec.network is not Network.NONE or not self._is_wanted():
            return None
        self._users[container] = spec.program_id
        if spec.program_id in self._talkative:
            return None
        had = self._taken.pop(container, None)
        candidates = [had] if had is not None else []
        while candidates or self._free:
            sandbox = candidates.pop() if candidates else self._free.pop()
            if await self._look(sandbox) == 0:
                self._taken[container] = sandbox
                return sandbox.joint
            self._discard(sandbox)
        if is_busy:
            self._make_one_more()
        return None

    async def give_back(self, container: str) -> None:
        """This container is gone, or was never made. Safe to repeat."""
        program_id = self._users.pop(container, None)
        sandbox = self._taken.pop(container, None)
        if sandbox is None:
            return
        packets = await self._look(sandbox)
        if packets == 0 and not self._closed:
            self._free.append(sandbox)
            return
        self._discard(sandbox)
        if packets and program_id is not None:
            self._talkative[program_id] = None
            while len(self._talkative) > _MOST_TALKATIVE:
                self._talkative.popitem(last=False)

    async def revive(self, docker: Docker, name: str) -> bool:
        """Start the sandbox of a container that could not be started, where it runs no more; whether there was one to start.

        A restart of Docker ends sandboxes like all else.
        """
        container_id = joined((await docker.containers.container(name).show())["HostConfig"]["NetworkMode"])
        if container_id is None:
            return False
        sandbox = docker.containers.container(container_id)
        seen = await sandbox.show()
        # Services of a Compose program may join each other's networks, and are not started again.
        if seen["State"]["Running"] or labels.NETWORK_SANDBOX not in (seen["Config"]["Labels"] or {}):
            return False
        await sandbox.start()
        log.info("network sandbox started again", action="sandbox_revived", container=name, sandbox=container_id)
        return True

    async def close(self) -> None:
        """Remove those that no program is in. Safe to repeat."""
        self._closed = True
        await cancel(*self._tasks)
        taken = {sandbox.name for sandbox in self._taken.values()}
        unused = [sandbox for sandbox in self._all.values() if sandbox.name not in taken]
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.gather(*(self._remove(sandbox) for sandbox in unused))
        except TimeoutError:
            log.info("network sandboxes are left to Docker", action="sandboxes_left", sandboxes=len(self._all))
        for sandbox in self._all.values():
            await sandbox.let_go()
        self._all.clear()
        self._free.clear()

    def _is_wanted(self) -> bool:
        return not self._closed and self._networks.are_wanted()

    async def _look(self, sandbox: _Sandbox) -> int | None:
        try:
            return await sandbox.packets()
        except BaseException:
            self._discard(sandbox)  # cancelled: nobody has it any more
            raise

    def _make_one_more(self) -> None:
        if len(self._all) >= min(_MOST, len(self._users)) or time.monotonic() < self._not_before:
            return
        name = f"{PREFIX}{secrets.token_hex(6)}"
        # Said before it is made, so that it is never taken for a stray.
        sandbox = self._all[name] = _Sandbox(name, DockerOutput(self._connection, name))
        self._in_background(self._make(sandbox), f"make {name}")

    async def _make(self, sandbox: _Sandbox) -> None:
        try:
            await self._try_to_make(sandbox)
        except (EngineUnavailable, CannotRun, DockerError) as error:
            self._not_before = time.monotonic() + self._pause_seconds
            self._pause_seconds = min(_LONGEST_PAUSE_SECONDS, self._pause_seconds * 2)
            log.warning("no network sandbox: programs start without", action="sandbox_not_made", error=str(error))
            await self._remove(sandbox)

    async def _try_to_make(self, sandbox: _Sandbox) -> None:
        body = sandbox_body(await self._networks.image_id(), self._networks.identity)
        async with (
            self._gate.start(Priority.REFILL),
            self._connection.call("making a network sandbox", _HEAVY_CALL_SECONDS) as docker,
        ):
            container = await create(docker, body, sandbox.name)
            failpoint("docker.sandbox_created")
        await sandbox.output.attach(with_stdin=True)
        async with (
            self._gate.start(Priority.REFILL),
            self._connection.call("starting a network sandbox", _HEAVY_CALL_SECONDS) as docker,
        ):
            await container.start()
            failpoint("docker.sandbox_started")
        async with self._connection.call("looking at a network sandbox") as docker:
            sandbox.joint = joint_of(await docker.containers.container(sandbox.name).show())
        if await sandbox.packets() != 0:
            raise EngineUnavailable("it does not answer")
        self._free.append(sandbox)
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        log.info("network sandbox made", action="sandbox_made", sandbox=sandbox.name, sandboxes=len(self._all))

    def _discard(self, sandbox: _Sandbox) -> None:
        if sandbox.name in self._all:
            self._in_background(self._remove(sandbox), f"remove {sandbox.name}")

    async def _remove(self, sandbox: _Sandbox) -> None:
        await sandbox.let_go()
        if await self._networks.remove(sandbox.name):
            failpoint("docker.sandbox_removed")
        self._all.pop(sandbox.name, None)

    def _in_background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
