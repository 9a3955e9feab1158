"""Docker takes calls and answers none for a while, as a daemon that hangs; here a proxy before it holds up all bytes."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import HubMaker, user_of
from tests.support.api import Api
from tests.support.cut_proxy import cut_proxy
from tests.support.docker import SOCKET
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.timeout(180)]

#: Longer than the lease of a runner here, and than the calls that ask whether Docker is there.
HANGS_SECONDS = 15.0
LEASE_SECONDS = 1.0


async def test_fault15_while_docker_hangs_the_runner_answers_hears_and_lives_and_nothing_is_started_twice(
    make_hub: HubMaker, amqp_url: str, tmp_path: Path
) -> None:
    async with cut_proxy(tmp_path / "docker.sock", SOCKET) as proxy:
        hub = make_hub(
            bus_url=amqp_url,
            HUB_DOCKER_HOST=f"unix://{tmp_path / 'docker.sock'}",
            HUB_LEASE_SECONDS=str(LEASE_SECONDS),
            HUB_MAX_CONCURRENT_EXECUTIONS="6",
        )
        async with user_of(hub) as api:
            lasting = await api.submit("dies_hard")
            ending = await api.submit("counts", seconds=5)
            await _until(api, lasting, "running")
            await _until(api, ending, "running")
            # These are on their way when it begins to hang.
            starting = [await api.submit("counts") for _ in range(3)]
            proxy.stall()
            hangs_until = time.monotonic() + HANGS_SECONDS
            waiting = [await api.submit("counts") for _ in range(2)]
            status, _, _ = await api.call("POST", f"/executions/{lasting}/cancel", {})
            assert status == 202
            seen: list[str] = []
            took: list[float] = []
            while time.monotonic() < hangs_until:
                began = time.monotonic()
                health = await api.get("/health")
                took.append(time.monotonic() - began)
                assert health["live_runners"] == 1
                seen += [health.get("problems", {}).get("runner", "")]
                await asyncio.sleep(0.05)
            assert any("Docker" in problem for problem in seen)
            # One loop serves the runner and these requests.
            took.sort()
            assert took[len(took) * 99 // 100] < 0.5
            assert (await api.get(f"/executions/{lasting}"))["status"] == "running"
            proxy.mend()

            assert (await api.finished(lasting))["status"] == "cancelled"
            records = [await api.finished(name) for name in (ending, *starting, *waiting)]
            assert [record["status"] for record in records] == ["completed"] * len(records)
            assert "problems" not in await api.get("/health")

            async def left() -> list[str]:
                return hub.containers()

            await eventually(left, lambda names: names == [], within_seconds=20)
        assert "runner_lost" not in hub.log()
        starts = (hub.folder / "scripts" / "counts" / "starts").read_text(encoding="ascii").split()
        assert sorted(starts) == sorted((ending, *starting, *waiting))


async def _until(api: Api, execution_id: str, status: str) -> None:
    async def seen() -> str:
        return str((await api.get(f"/executions/{execution_id}"))["status"])

    await eventually(seen, lambda found: found == status, within_seconds=30, every_seconds=0.1)
