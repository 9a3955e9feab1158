"""Compose programs whose runner is killed or stopped, and taken up by its next life."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from schemas.output import StreamName
from schemas.reasons import Reason
from schemas.status import Status
from tests.integration.runner.compose_hub import DEBIAN, ComposeHub, compose_hub_v2, engines_of, nothing_built_stays
from tests.support.compose import Compose, compose_v2, nothing_left_of
from tests.support.docker import docker
from tests.support.runner_fixtures import Hub
from tests.support.wait import eventually

__all__ = ["compose_hub_v2", "compose_v2", "nothing_built_stays"]

LINES = 40
#: Until a test lets it go on.
WAIT_FOR_GO = "while [ ! -e /here/go ]; do sleep 0.1; done"


def service(name: str, script: str, **fields: object) -> dict[str, object]:
    """A service that writes down each of its starts in the program's folder, and then does as the script says."""
    return {
        "image": DEBIAN,
        "command": ["sh", "-c", f"echo {name} >> /here/starts; {script}"],
        "volumes": [".:/here"],
        **fields,
    }


def counting(code: int) -> str:
    """A script that writes numbered lines to both streams."""
    return (
        f"i=0; while [ $$i -lt {LINES} ]; do echo out $$i; echo err $$i >&2; i=$$((i+1)); sleep 0.05; done;"
        f" printf end; exit {code}"
    )


class Lives:
    """Lives of one runner, each with engines of its own, as processes have."""

    def __init__(self, around: Hub, folder: Path, compose: Compose) -> None:
        self.around = around
        self._folder = folder
        self._compose = compose
        self._count = 0

    @asynccontextmanager
    async def life(self, *, crashes: bool) -> AsyncIterator[Hub]:
        """One life. One that does not crash is stopped without waiting for what runs."""
        self._count += 1
        async with engines_of(self.around.identity, self._folder / f"work{self._count}", self._compose.path) as engines:
            self.around.engine = engines
            async with self.around.crashing_runner() if crashes else self.around.runner(stop_limit_seconds=0):
                yield self.around

    def starts(self) -> Counter[str]:
        """How often each service was started."""
        file = self.around.catalogues.current.project_dir / "example" / "starts"
        return Counter(file.read_text().split() if file.exists() else ())

    async def has_started(self, *services: str) -> None:
        """Wait until these were."""

        async def look() -> Counter[str]:
            return self.starts()

        await eventually(look, lambda seen: set(services) <= seen.keys())


@pytest.fixture
def make_lives(compose_hub_v2: ComposeHub, tmp_path: Path, compose_v2: Compose) -> "LivesMaker":
    """Makes the lives of a runner whose program is a Compose file."""
    return LivesMaker(compose_hub_v2, tmp_path, compose_v2)


class LivesMaker:
    """See ``make_lives``."""

    def __init__(self, hub: ComposeHub, folder: Path, compose: Compose) -> None:
        self._hub, self._folder, self._compose = hub, folder, compose

    def __call__(self, **services: object) -> Lives:
        around = self._hub({"services": services, "volumes": {"data": {}}}, stop_grace_seconds=1)
        return Lives(around, self._folder, self._compose)


@pytest.mark.parametrize("crashes", [True, False], ids=["killed", "stopped"])
async def test_m10_t5_fault29_services_run_on_and_are_taken_up_with_all_output_in_one_order_and_the_true_exit_code(
    make_lives: LivesMaker, crashes: bool
) -> None:
    lives = make_lives(
        app=service("app", counting(7), depends_on=["other"]), other=service("other", counting(0) + "; sleep 60")
    )
    async with lives.life(crashes=crashes) as around:
        execution_id = await around.submit()

        async def told() -> int:
            return len(around.output(execution_id, StreamName.STDOUT))

        await eventually(told, lambda size: size > 200)
    begun = {stream: around.output(execution_id, stream) for stream in StreamName}
    async with lives.life(crashes=False) as around:
        ended = await around.ended(execution_id)
        await nothing_left_of(execution_id)
    assert (ended.status, ended.exit_code, ended.reason) == (Status.FAILED, 7, Reason.EXIT_CODE)
    assert lives.starts() == {"app": 1, "other": 1}
    for stream, word, summary in ((StreamName.STDOUT, "out", ended.stdout), (StreamName.STDERR, "err", ended.stderr)):
        written = around.output(execution_id, stream)
        # What was told before is how it begins, byte for byte, and the rest follows it.
        assert written.startswith(begun[stream])
        assert (len(written), written.decode()) == (summary.total_bytes, summary.content)
        for name in ("app", "other"):
            lines = [line.partition(" | ")[2] for line in written.decode().splitlines() if line.startswith(name)]
            ending = ["end"] if stream is StreamName.STDOUT else []
            assert lines == [f"{word} {number}" for number in range(LINES)] + ending


async def test_m10_t5_what_was_not_started_yet_is_started_once_by_the_next_life(make_lives: LivesMaker) -> None:
    lives = make_lives(
        first=service("first", WAIT_FOR_GO),
        second=service("second", "echo done", depends_on={"first": {"condition": "service_completed_successfully"}}),
    )
    async with lives.life(crashes=True) as around:
        execution_id = await around.submit()
        await lives.has_started("first")
        await around.is_running(execution_id)
    (around.catalogues.current.project_dir / "example" / "go").touch()
    async with lives.life(crashes=False) as around:
        ended = await around.ended(execution_id)
        await nothing_left_of(execution_id)
    assert (ended.status, ended.stdout.content) == (Status.COMPLETED, "second-1  | done\n")
    assert lives.starts() == {"first": 1, "second": 1}


async def test_m10_what_failed_first_while_nobody_was_there_decides_and_nothing_more_is_started(make_lives: LivesMaker) -> None:
    lives = make_lives(
        late=service("late", f"{WAIT_FOR_GO}; sleep 2; exit 4"),
        soon=service("soon", f"{WAIT_FOR_GO}; exit 3"),
        never=service("never", "true", depends_on={"late": {"condition": "service_completed_successfully"}}),
    )
    async with lives.life(crashes=True) as around:
        execution_id = await around.submit()
        await lives.has_started("late", "soon")
        await around.is_running(execution_id)
    (around.catalogues.current.project_dir / "example" / "go").touch()
    project = f"--filter=label=com.docker.compose.project=hub-{execution_id}"

    async def ended_containers() -> int:
        return len((await asyncio.to_thread(docker, "ps", "--all", "--quiet", project, "--filter=status=exited")).split())

    await eventually(ended_containers, lambda count: count == 2)
    async with lives.life(crashes=False) as around:
        ended = await around.ended(execution_id)
        await nothing_left_of(execution_id)
    assert (ended.status, ended.exit_code, ended.message) == (Status.FAILED, 3, "Service 'soon' exited with code 3")
    assert lives.starts() == {"late": 1, "soon": 1}


async def test_of_what_a_removed_container_leaves_an_end_is_made_k5(make_lives: LivesMaker) -> None:
    lives = make_lives(one=service("one", "sleep 60"), two=service("two", "sleep 60"))
    async with lives.life(crashes=True) as around:
        execution_id = await around.submit()
        await around.is_running(execution_id)
    docker("rm", "--force", f"hub-{execution_id}-one-1")
    async with lives.life(crashes=False) as around:
        ended = await around.ended(execution_id)
        await nothing_left_of(execution_id)
    assert (ended.status, ended.reason) == (Status.FAILED, Reason.RUNNER_RESTARTED)
