"""Both engines as one: each attempt goes to the engine of its kind, and what an earlier life left is looked for in both."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from runner import labels
from runner.belongings import Belonging
from runner.compose_engine import ComposeEngine
from runner.compose_spec import ComposeSpec
from runner.docker_engine import DockerEngine
from runner.engine import NO_ORDER, Exit, Found, Frame, Order, Prepared, RunningContainer, Spec, Tail
from runner.preparation import NOBODY, Listener
from runner.run_spec import container_name
from runner.steps import Step
from runner.warm_pool import Warm


class Engines:
    """An engine for whatever can be run. See :mod:`runner.engine` for the contract."""

    def __init__(self, docker: DockerEngine, compose: ComposeEngine) -> None:
        self._docker = docker
        self._compose = compose
        #: Attempts that were prepared here → whether Compose runs them.
        self._by_compose: dict[str, bool] = {}

    async def ping(self) -> str:
        """See :meth:`runner.engine.Engine.ping`."""
        return await self._docker.ping()

    async def data_root(self) -> Path | None:
        """See :meth:`runner.engine.Engine.data_root`."""
        return await self._docker.data_root()

    async def take_warm(self, spec: Spec) -> Prepared | None:
        """See :meth:`runner.engine.Engine.take_warm`. Nothing of a Compose program is kept warm."""
        self._by_compose[spec.name] = isinstance(spec, ComposeSpec)
        return None if isinstance(spec, ComposeSpec) else await self._docker.take_warm(spec)

    async def prepare(self, spec: Spec, listener: Listener = NOBODY) -> Prepared:
        """See :meth:`runner.engine.Engine.prepare`."""
        self._by_compose[spec.name] = isinstance(spec, ComposeSpec)
        if isinstance(spec, ComposeSpec):
            return await self._compose.prepare(spec, listener)
        return await self._docker.prepare(spec, listener)

    async def start(self, name: str, step: Step = Step.PROGRAM, *, exit_code: int = 0) -> None:
        """See :meth:`runner.engine.Engine.start`."""
        if self._by_compose.get(name):
            await self._compose.start(name)
        else:
            await self._docker.start(name, step, exit_code=exit_code)

    async def adopt(self, name: str, plan: str | None = None, order: Order = NO_ORDER) -> None:
        """See :meth:`runner.engine.Engine.adopt`."""
        by_compose = await self._compose.find(name) is not None
        if by_compose:
            await self._compose.adopt(name, plan, order)
        else:
            await self._docker.adopt(name, plan, order)
        self._by_compose[name] = by_compose

    def output(self, name: str) -> AsyncGenerator[Frame, None]:
        """See :meth:`runner.engine.Engine.output`."""
        return self._compose.output(name) if self._by_compose.get(name) else self._docker.output(name)

    def may_lack_output(self, name: str) -> bool:
        """See :meth:`runner.engine.Engine.may_lack_output`."""
        return (self._compose if self._by_compose.get(name) else self._docker).may_lack_output(name)

    async def wait(self, name: str) -> Exit:
        """See :meth:`runner.engine.Engine.wait`."""
        return await (self._compose.wait(name) if self._by_compose.get(name) else self._docker.wait(name))

    async def stop(self, name: str, grace_seconds: float) -> None:
        """See :meth:`runner.engine.Engine.stop`."""
        if self._by_compose.get(name) is not True:
            await self._docker.stop(name, grace_seconds)
        if self._by_compose.get(name) is not False:
            await self._compose.stop(name, grace_seconds)

    async def destroy(self, name: str) -> None:
        """See :meth:`runner.engine.Engine.destroy`."""
        if self._by_compose.get(name) is not True:
            await self._docker.destroy(name)
        if self._by_compose.get(name) is not False:
            await self._compose.destroy(name)
        self._by_compose.pop(name, None)

    async def find(self, name: str) -> Found | None:
        """See :meth:`runner.engine.Engine.find`."""
        found = await self._docker.find(name) if self._by_compose.get(name) is not True else None
        if found is None and self._by_compose.get(name) is not False:
            found = await self._compose.find(name)
        return found

    async def knows_all_starts(self, name: str) -> bool:
        """See :meth:`runner.engine.Engine.knows_all_starts`."""
        return self._by_compose.get(name) is True or await self._docker.knows_all_starts(name)

    async def list_ours(self) -> list[Found]:
        """See :meth:`runner.engine.Engine.list_ours`."""
        containers = [found for found in await self._docker.list_ours() if not _is_of_a_project(found)]
        projects = await self._compose.list_ours()
        return list({found.name: found for found in (*projects, *containers)}.values())

    async def belongings(self) -> list[Belonging]:
        """See :meth:`runner.engine.Engine.belongings`."""
        return await self._docker.belongings()

    async def remove(self, belonging: Belonging) -> None:
        """See :meth:`runner.engine.Engine.remove`."""
        await self._docker.remove(belonging)

    async def list_running(self) -> list[RunningContainer]:
        """See :meth:`runner.engine.Engine.list_running`. Those of Compose projects are containers like all others."""
        return await self._docker.list_running()

    async def tail(self, container_id: str, lines: int, most_bytes: int) -> Tail:
        """See :meth:`runner.engine.Engine.tail`."""
        return await self._docker.tail(container_id, lines, most_bytes)

    def keep_warm(self, wanted: Sequence[Warm]) -> None:
        """See :meth:`runner.engine.Engine.keep_warm`. Nothing of a Compose program is kept warm."""
        self._docker.keep_warm(wanted)

    async def close(self) -> None:
        """See :meth:`runner.engine.Engine.close`."""
        await self._compose.close()
        await self._docker.close()


def _is_of_a_project(found: Found) -> bool:
    """Whether a container is one of a Compose project. Its label alone could be its image's; an attempt's own has its name."""
    return labels.COMPOSE_PROJECT in found.labels and found.name != container_name(
        found.labels.get(labels.EXECUTION_ID, ""), int(found.labels.get(labels.ATTEMPT) or 1)
    )
