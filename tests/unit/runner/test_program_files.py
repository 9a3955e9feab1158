import os
from pathlib import Path

import pytest

from runner.errors import CannotRun
from runner.program_files import ProgramFiles, gather, parse_env
from schemas.programs import Program
from schemas.reasons import Reason
from tests.support.runner_fixtures import make_program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "project" / "example"
    folder.mkdir(parents=True)
    return folder


def look(folder: Path, **fields: object) -> ProgramFiles:
    program: Program = make_program(**fields)  # type: ignore[arg-type]
    return gather(program, folder.parent)


def test_main_file_and_the_first_alternative_are_found_r8(folder: Path) -> None:
    (folder / "index.py").touch()
    (folder / "app.py").touch()
    (folder / "sub").mkdir()
    (folder / "sub" / "start.py").touch()
    assert look(folder) == ProgramFiles(
        folder=folder, main_file_exists=False, alternative="app.py", owner=owner_of(folder), env={}
    )
    assert look(folder, main_file="sub/start.py").main_file_exists


def test_a_folder_is_no_main_file(folder: Path) -> None:
    (folder / "main.py").mkdir()
    assert not look(folder).main_file_exists


def test_an_absolute_path_is_taken_as_it_is_p18(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "main.py").touch()
    files = look(folder, path=str(elsewhere))
    assert (files.folder, files.main_file_exists) == (elsewhere, True)


def test_a_missing_folder_is_told_v2(folder: Path) -> None:
    with pytest.raises(CannotRun, match="'missing' of program 'example' can't be opened: No such file") as caught:
        look(folder, path="missing")
    assert caught.value.reason is Reason.INVALID_PATH


@pytest.mark.parametrize("main_file", ["../main.py", "/etc/passwd", "a/../../b"])
def test_a_main_file_outside_the_folder_is_refused(folder: Path, main_file: str) -> None:
    with pytest.raises(CannotRun) as caught:
        look(folder, main_file=main_file)
    assert caught.value.reason is Reason.INVALID_PATH


def test_a_link_is_followed_only_beneath_the_folder(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.py"
    secret.touch()
    (folder / "real").mkdir()
    (folder / "real" / "main.py").touch()
    (folder / "inner").symlink_to("real")
    for name, target, found in (
        ("a.py", "real/main.py", True),
        ("b.py", "inner/../inner/main.py", True),
        ("c.py", "../../secret.py", False),
        ("d.py", str(secret), False),
        ("e.py", "e.py", False),
        ("f.py", "real/../../example/real/main.py", False),
    ):
        (folder / name).symlink_to(target)
        assert look(folder, main_file=name).main_file_exists is found, name


def test_the_env_file_is_never_read_through_a_link_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("ROOT=secret")
    (folder / ".env").symlink_to(tmp_path / "shadow")
    with pytest.raises(CannotRun) as caught:
        look(folder)
    assert caught.value.reason is Reason.INVALID_PATH
    assert "secret" not in caught.value.message


def test_an_env_file_that_is_a_fifo_blocks_nobody(folder: Path) -> None:
    os.mkfifo(folder / ".env")
    with pytest.raises(CannotRun, match="not a regular file"):
        look(folder)


def test_an_env_file_of_any_length_costs_no_memory(folder: Path) -> None:
    with (folder / ".env").open("wb") as file:
        file.truncate(1024**4)
    with pytest.raises(CannotRun, match="longer"):
        look(folder)


def test_no_env_file_is_fine_and_so_is_a_folder_of_that_name_r3(folder: Path) -> None:
    assert look(folder).env == {}
    (folder / ".env").mkdir()
    assert look(folder).env == {}


def test_the_env_file_follows_dotenv_s_quoting_without_interpolation_r3() -> None:
    content = b"\xef\xbb\xbfA=1\nexport B='two words'\nC=\"x\\ny\"\nD=${A}\nBARE\n# comment\nE=\n"
    assert parse_env(content, "x") == {"A": "1", "B": "two words", "C": "x\ny", "D": "${A}", "E": ""}


@pytest.mark.parametrize("content", [b"A=\xff", b"A=\0"])
def test_an_env_file_that_is_no_text_is_refused(content: bytes) -> None:
    with pytest.raises(CannotRun):
        parse_env(content, "x")


def test_what_the_env_file_holds_is_not_shown(folder: Path) -> None:
    (folder / ".env").write_text("KEY=hidden-value")
    files = look(folder)
    assert files.env == {"KEY": "hidden-value"}
    assert "hidden-value" not in repr(files)


@pytest.mark.parametrize("path", [".", "..", "link", "hub"])
def test_a_folder_that_holds_the_hubs_state_is_refused_however_it_is_spelled(tmp_path: Path, path: str) -> None:
    project = tmp_path / "project"
    state = project / "hub" / ".hub"
    state.mkdir(parents=True)
    (project / "link").symlink_to(project)
    (project / "elsewhere").mkdir()
    with pytest.raises(CannotRun, match="the hub's own state") as refused:
        gather(make_program(path=path), project, (state,))
    assert refused.value.reason is Reason.INVALID_PATH
    gather(make_program(path="elsewhere"), project, (state,))


def owner_of(folder: Path) -> tuple[int, int] | None:
    status = folder.stat()
    return (status.st_uid, status.st_gid) if status.st_uid else None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_of_the_folder_is_told_unless_it_is_root(folder: Path) -> None:
    assert look(folder).owner is None
    os.chown(folder, 1234, 567)
    assert look(folder).owner == (1234, 567)
