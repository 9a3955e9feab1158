"""Docker's connections break while programs run, as when its daemon restarts with live-restore."""

import asyncio
from pathlib import Path

import pytest

from runner.docker_engine import DockerEngine
from runner.identity import Identity
from schemas.status import Status
from tests.integration.runner.conftest import MakeHub
from tests.support.cut_proxy import cut_proxy
from tests.support.docker import SOCKET
from tests.support.wait import eventually


@pytest.mark.parametrize("action", ["", "print('prepared', flush=True)"], ids=["alone", "after an action"])
async def test_a_broken_connection_is_no_end_and_costs_no_byte(
    hub: MakeHub, identity: Identity, tmp_path: Path, action: str
) -> None:
    around = hub(
        """
        import sys, time
        for number in range(300):
            print(number, flush=True)
            print(-number, file=sys.stderr, flush=True)
            time.sleep(0.01)
        sys.stdout.write("no newline at the end")
        raise SystemExit(4)
        """
    )
    if action:
        actions = around.catalogues.current.project_dir / "actions"
        actions.mkdir()
        (actions / "act_before.py").write_text(action)
    async with cut_proxy(tmp_path / "docker.sock", SOCKET) as proxy:
        around.engine = DockerEngine(identity=identity, socket_path=str(tmp_path / "docker.sock"))
        async with around.runner():
            execution_id = await around.submit()

            async def writes() -> bool:
                return bool(around.chunks(execution_id))

            await eventually(writes)
            for _ in range(2):
                await asyncio.sleep(0.5)
                proxy.cut()
                await asyncio.sleep(0.3)
                proxy.mend()
            ended = await around.ended(execution_id)
        await around.engine.close()

    assert (ended.status, ended.exit_code) == (Status.FAILED, 4)
    assert ended.lines_before == ("[act_before] prepared\n" if action else None)
    assert ended.stdout.content == "".join(f"{number}\n" for number in range(300)) + "no newline at the end"
    assert ended.stderr.content == "".join(f"{-number}\n" for number in range(300))


async def test_while_docker_is_away_nothing_is_taken_and_the_problem_is_told_v4(
    hub: MakeHub, identity: Identity, tmp_path: Path
) -> None:
    around = hub("print('ran')")
    async with cut_proxy(tmp_path / "docker.sock", SOCKET) as proxy:
        proxy.cut()
        around.engine = DockerEngine(identity=identity, socket_path=str(tmp_path / "docker.sock"))
        async with around.runner() as runner:
            execution_id = await around.submit()

            async def problem() -> str | None:
                return runner.problem

            assert "Docker" in (await eventually(problem) or "")
            assert around.bus.commands_.deliveries == []

            proxy.mend()
            ended = await around.ended(execution_id)
            assert ended.stdout.content == "ran\n"
            assert runner.problem is None
        await around.engine.close()
