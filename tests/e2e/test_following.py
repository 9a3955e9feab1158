"""Following executions while they run, on both buses."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE

import aiohttp
import pytest

from tests.e2e.conftest import HubMaker
from tests.support.api import Api
from tests.support.hub_process import HubProcess

pytestmark = pytest.mark.docker

TICKS = """
import os, sys, time
for number in range(int(os.environ["PARAM_LINES"])):
    print("line", number, flush=True)
    time.sleep(0.05)
sys.stderr.buffer.write(b"\\xff\\n")
raise SystemExit(7)
"""


async def test_m3_output_is_seen_while_the_program_runs_and_from_where_one_left_off(make_hub: HubMaker) -> None:
    hub = make_hub()
    hub.write_program("ticks", TICKS)
    hub.start()
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        execution_id = await api.submit("ticks", lines=40)
        path = f"/executions/{execution_id}/logs/stream"
        seen, last = b"", ""
        # Each connection is left after a piece of output, the way an unsteady network would.
        for _ in range(3):
            async with session.get(path, headers={"Last-Event-ID": last} if last else {}) as answer:
                assert answer.status == 200
                while True:
                    event = await answer.content.readuntil(b"\n\n")
                    seen += event
                    last = re.findall(rb"id: (\S+)", event)[-1].decode()
                    if b"event: output" in event:
                        break
        assert (await api.get(f"/executions/{execution_id}"))["status"] == "running"
        async with session.get(path, headers={"Last-Event-ID": last}) as answer:
            seen += await answer.read()
        events = re.findall(rb"event: (\w+)", seen)
        assert [event for event in events if event != b"output"] == [b"queued", b"running", b"failed"]
        content = b"".join(re.findall(rb'"stream":"stdout".*?"content":"([^"]*)"', seen))
        assert content.replace(rb"\n", b"\n").decode() == "".join(f"line {number}\n" for number in range(40))


async def test_m3_follow_copies_the_output_and_gives_the_exit_status_of_the_program_across_a_restart(
    make_hub: HubMaker,
) -> None:
    hub = make_hub()
    hub.write_program("ticks", TICKS)
    hub.start()
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        execution_id = await api.submit("ticks", lines=60)
    following = await _follow(hub, execution_id)
    assert following.stdout is not None
    first = await asyncio.wait_for(following.stdout.readline(), 30)
    await asyncio.to_thread(hub.stop)
    await asyncio.to_thread(hub.start)
    out, err = await asyncio.wait_for(following.communicate(), 60)
    assert (first + out).decode() == "".join(f"line {number}\n" for number in range(60))
    assert err.startswith(b"\xff\n")
    assert following.returncode == 7


async def _follow(hub: HubProcess, execution_id: str) -> asyncio.subprocess.Process:
    words = (sys.executable, "-m", "hub", "follow", execution_id, "--config", str(hub.config_path))
    environment = {**os.environ, **hub.environment}
    return await asyncio.create_subprocess_exec(*words, env=environment, cwd=hub.folder, stdout=PIPE, stderr=PIPE)
