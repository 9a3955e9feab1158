"""Cancels of what really runs, is really fetched, or really ends in that moment."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bus.messages import End
from schemas.events import Ended
from schemas.reasons import Reason
from schemas.status import Status
from tests.integration.runner.compose_hub import DEBIAN, ComposeHub, compose_hub_v2, nothing_built_stays
from tests.integration.runner.conftest import COLD_AND_WARM, MakeHub
from tests.support.compose import compose_v2, nothing_left_of
from tests.support.docker import containers
from tests.support.runner_fixtures import Hub
from tests.support.wait import eventually

__all__ = ["compose_hub_v2", "compose_v2", "nothing_built_stays"]

_SAYS_GOODBYE = """
    import signal, sys, time
    signal.signal(signal.SIGTERM, lambda *_: (print("goodbye", flush=True), sys.exit(7)))
    print("ready", flush=True)
    time.sleep(60)
"""
_STUBBORN = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    time.sleep(60)
"""


async def cancel(around: Hub, execution_id: str) -> None:
    await around.bus.decisions.decide(End(execution_id=execution_id, reason="cancelled", requested_by="ana"))


async def cancelled(around: Hub, execution_id: str) -> Ended:
    """The ending, and nothing left."""
    ended = await around.ended(execution_id)
    assert (ended.status, ended.reason, ended.message) == (Status.CANCELLED, Reason.CANCELLED, "Cancelled by ana")
    await eventually(lambda: asyncio.to_thread(containers, execution_id=execution_id), lambda left: left == [])
    return ended


async def is_ready(around: Hub, execution_id: str) -> None:
    async def look() -> bool:
        return any("ready" in chunk.content for chunk in around.chunks(execution_id))

    await eventually(look)


@COLD_AND_WARM
@pytest.mark.parametrize(
    ("source", "exit_code", "wrote"), [(_SAYS_GOODBYE, 7, "ready\ngoodbye\n"), (_STUBBORN, 137, "ready\n")]
)
async def test_fault28_what_runs_gets_sigterm_and_sigkill_after_its_grace_and_keeps_its_output_m1(
    hub: MakeHub, source: str, exit_code: int, wrote: str
) -> None:
    around = hub(source, stop_grace_seconds=1)
    async with around.runner():
        execution_id = await around.submit()
        await is_ready(around, execution_id)
        await cancel(around, execution_id)
        ended = await cancelled(around, execution_id)
    assert ended.exit_code == exit_code
    assert ended.stdout.total_bytes == len(wrote)
    assert "".join(chunk.content for chunk in around.chunks(execution_id)) + (ended.stdout.content or "") in (
        wrote,
        wrote + wrote,  # in pieces, and as a whole in the ending
    )


async def test_a_pull_is_given_up_at_once_m1(hub: MakeHub, mute_registry: str) -> None:
    around = hub(docker_image=f"{mute_registry}/mute:1")
    async with around.runner():
        execution_id = await around.submit()

        async def pulls() -> bool:
            return bool(around.progress(execution_id))

        await eventually(pulls)
        await cancel(around, execution_id)
        ended = await asyncio.wait_for(cancelled(around, execution_id), 5)
    assert (ended.exit_code, ended.started_at) == (None, None)


@COLD_AND_WARM
async def test_fault34_a_cancel_at_any_moment_of_a_short_life_leaves_one_ending_and_no_container_m1(hub: MakeHub) -> None:
    around = hub("print('ran')", settings={"max_concurrent_executions": 4})

    async def race(number: int) -> Status:
        execution_id = await around.submit()
        # Before its claim it would be nothing to this runner. Then from its preparation to after its end.
        await eventually(lambda: around.bus.decisions.decision_for(execution_id, 1), within_seconds=60)
        await asyncio.sleep(number * 0.06)
        await cancel(around, execution_id)
        ended = await around.ended(execution_id)  # one alone
        await eventually(lambda: asyncio.to_thread(containers, execution_id=execution_id), lambda left: left == [])
        return ended.status

    async with around.runner():
        statuses = await asyncio.gather(*(race(number) for number in range(20)))
    assert set(statuses) <= {Status.COMPLETED, Status.CANCELLED}
    assert Status.CANCELLED in statuses


@pytest.mark.parametrize("killed", [False, True])
async def test_a_compose_program_is_stopped_and_all_of_it_removed_m1(compose_hub_v2: ComposeHub, killed: bool) -> None:
    service = {"image": DEBIAN, "command": "sleep 60"}
    around = compose_hub_v2({"services": {"app": service | {"depends_on": ["other"]}, "other": service}}, stop_grace_seconds=1)
    if killed:
        async with around.crashing_runner():
            execution_id = await around.submit()
            await around.is_running(execution_id)
        await cancel(around, execution_id)
        async with around.runner():
            await cancelled(around, execution_id)
    else:
        async with around.runner():
            execution_id = await around.submit()
            await around.is_running(execution_id)
            await cancel(around, execution_id)
            assert (await cancelled(around, execution_id)).exit_code is not None
    await nothing_left_of(execution_id)


@pytest.fixture
async def mute_registry() -> AsyncIterator[str]:
    """A registry that takes calls and never answers."""
    connections: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"{host}:{port}"
    server.close()
    for connection in connections:
        connection.transport.abort()
    await asyncio.sleep(0.05)  # the aborted connections' handlers end
