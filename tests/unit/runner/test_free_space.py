"""M27, fault 21: without room on the disk no work is taken, and with room it goes on by itself."""

import os
import tempfile
from pathlib import Path

import pytest

from runner.free_space import FreeSpace, free_bytes
from schemas.status import Status
from tests.support.runner_fixtures import Hub
from tests.support.wait import eventually


class Disk:
    """A disk that tests fill and empty."""

    def __init__(self, free: int) -> None:
        self.free = free

    def free_bytes(self, path: Path) -> int:
        """Where it is negative, it can't be looked at."""
        if self.free < 0:
            raise OSError(5, "Input/output error", str(path))
        return self.free


def test_m27_the_real_disk_is_measured_and_0_asks_for_nothing(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) > 0
    assert FreeSpace(tmp_path, 1).problem is None
    assert "MiB are needed" in str(FreeSpace(tmp_path, 2**62).problem)
    assert FreeSpace(tmp_path / "nowhere", 0).problem is None
    assert "No such file" in str(FreeSpace(tmp_path / "nowhere", 1).problem)


def test_fault21_m27_a_file_system_that_fills_up_is_noticed_and_so_is_room_again() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, tempfile.TemporaryFile(dir=folder) as file:
        space = FreeSpace(Path(folder), free_bytes(Path(folder)) - 4 * 2**20)
        seen = [space.problem]
        os.posix_fallocate(file.fileno(), 0, 8 * 2**20)
        seen.append(space.problem)
        file.truncate(0)
        seen.append(space.problem)
    assert [problem is None for problem in seen] == [True, False, True]


@pytest.mark.parametrize("bad", [99, 0, -1])
async def test_fault21_m27_a_runner_without_room_takes_nothing_says_so_and_goes_on_when_there_is_room(
    hub: Hub, bad: int
) -> None:
    disk = Disk(100)
    hub.free_space = FreeSpace(hub.state_dir, 100, free_bytes=disk.free_bytes)
    async with hub.runner() as runner:
        running = await hub.submit(sleep=1)
        await hub.is_running(running)
        stopped = hub.bus.commands_.times_stopped
        disk.free = bad

        async def has_stopped() -> bool:
            return hub.bus.commands_.times_stopped > stopped

        await eventually(has_stopped)
        waiting = await hub.submit(exit_code=0)
        assert "disk of" in str(runner.problem)
        # What ran, ends and is told all the same.
        assert (await hub.ended(running)).status is Status.COMPLETED
        assert await hub.bus.commands.waiting("default") == 1
        assert not hub.events(waiting)

        disk.free = 100
        assert (await hub.ended(waiting)).status is Status.COMPLETED
        assert runner.problem is None


async def test_fault21_m27_a_runner_takes_nothing_while_the_engines_disk_is_short_where_it_is_seen_from_here(
    hub: Hub, tmp_path: Path
) -> None:
    engines = tmp_path / "docker"
    engines.mkdir()
    free = {hub.state_dir: 100, engines: 99}
    hub.fake.root = engines
    hub.free_space = FreeSpace(hub.state_dir, 100, free_bytes=lambda path: free[path])
    async with hub.runner() as runner:
        waiting = await hub.submit()

        async def problem() -> str:
            return str(runner.problem)

        await eventually(problem, lambda said: f"the disk of {engines} has" in said)
        assert await hub.bus.commands.waiting("default") == 1
        free[engines] = 100
        assert (await hub.ended(waiting)).status is Status.COMPLETED
        assert runner.problem is None


async def test_fault21_an_engines_disk_that_is_not_seen_from_here_is_no_concern(hub: Hub, tmp_path: Path) -> None:
    hub.fake.root = tmp_path / "of another machine"
    hub.free_space = FreeSpace(hub.state_dir, 100, free_bytes=lambda path: 100 if path == hub.state_dir else 0)
    async with hub.runner():
        assert (await hub.ended(await hub.submit())).status is Status.COMPLETED
