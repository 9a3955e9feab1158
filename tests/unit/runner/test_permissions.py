"""V4: what the runner is not permitted is told as such, apart from what is not there."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.docker_engine import DockerEngine
from runner.engine_watch import EngineWatch
from runner.errors import CannotRun, EngineForbidden, EngineUnavailable
from runner.execution import Execution, Fate
from runner.identity import Identity
from runner.program_files import gather
from runner.standing import Standing
from runner.surroundings import Surroundings
from schemas.commands import ExecuteProgram
from schemas.events import Ended, parse_event
from schemas.ids import new_execution_id
from schemas.reasons import Category, Reason
from tests.support.privileges import unprivileged
from tests.support.runner_fixtures import IDENTITY, Hub, make_program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project that anybody may enter, with one program."""
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o755)
    program = tmp_path / "project" / "example"
    program.mkdir(parents=True)
    (program / "main.py").touch()
    return program


@pytest.fixture
def forbidden_socket(tmp_path: Path) -> Iterator[str]:
    """A socket that somebody listens on and nobody may use."""
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0)
        yield str(path)


def refused(folder: Path) -> CannotRun:
    with unprivileged(), pytest.raises(CannotRun) as caught:
        gather(make_program(), folder.parent)
    assert caught.value.reason.category is Category.SYSTEM
    return caught.value


@pytest.mark.parametrize("name", ["", "main.py", ".env", "requirements.txt"])
def test_v4_what_the_runner_may_not_read_is_a_matter_of_permission(folder: Path, name: str) -> None:
    (folder / ".env").touch()
    (folder / "requirements.txt").touch()
    (folder / name).chmod(0)

    error = refused(folder)

    assert error.reason is Reason.PERMISSION_DENIED
    assert "can't be opened" in error.message


async def test_v4_a_socket_that_may_not_be_used_is_told_from_one_that_is_not_there(
    tmp_path: Path, forbidden_socket: str
) -> None:
    engine = DockerEngine(identity=Identity("i", "r"), socket_path=forbidden_socket)
    watch = EngineWatch(engine)
    try:
        with unprivileged():
            with pytest.raises(EngineForbidden, match="run it as root or in the group of the socket"):
                await engine.ping()
            assert not await watch.check()
    finally:
        await engine.close()
    assert "may not use Docker's socket" in (watch.problem or "")

    elsewhere = DockerEngine(identity=Identity("i", "r"), socket_path=str(tmp_path / "absent.sock"))
    with pytest.raises(EngineUnavailable) as caught:
        await elsewhere.ping()
    await elsewhere.close()
    assert not isinstance(caught.value, EngineForbidden)


@pytest.mark.parametrize(("forbidden", "reason"), [(False, Reason.DOCKER_UNAVAILABLE), (True, Reason.PERMISSION_DENIED)])
async def test_v4_an_engine_that_stays_away_ends_what_was_about_to_start(hub: Hub, *, forbidden: bool, reason: Reason) -> None:
    async with hub.journal() as journal:
        claimed = journal.new_claim(new_execution_id(), 1, "digest", ExecuteProgram(program_id="example"))
        assert await journal.claim(claimed)
        around = Surroundings(
            engine=hub.engine,
            journal=journal,
            standing=Standing(hub.bus.epochs, journal, ttl_seconds=30),
            catalogues=hub.catalogues,
            identity=IDENTITY,
            patience_seconds=0,
        )
        hub.fake.away, hub.fake.forbidden = True, forbidden
        assert await Execution(claimed, around).run() is Fate.ENDED
        hub.fake.away = False
        (waiting,) = await journal.next_reports(10)

    fact = parse_event(waiting.report.body).data
    assert isinstance(fact, Ended)
    assert (fact.reason, fact.category) == (reason, Category.SYSTEM)
    assert (fact.message or "").startswith("Docker is not available: ")
