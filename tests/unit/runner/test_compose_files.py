"""Where a Compose program lies, and the copy that Compose is shown."""

from pathlib import Path
from typing import Any

import pytest

from runner.compose_files import check_sources, copy_for_compose, locate
from runner.compose_spec import Place
from runner.errors import CannotRun
from schemas.reasons import Reason
from tests.support.runner_fixtures import make_program
from tests.unit.runner.test_compose_model import make_spec


def place(tmp_path: Path, named: str, **options: Any) -> Place:
    return locate(make_program(path_docker_compose_run=named), tmp_path, **options)


def test_a_file_is_relative_to_the_programs_folder_or_absolute_k2(tmp_path: Path) -> None:
    (tmp_path / "example" / "sub").mkdir(parents=True)
    (tmp_path / "example" / "sub" / "a.yml").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.yml").touch()
    folder = tmp_path / "example"
    assert place(tmp_path, "sub/a.yml") == Place(folder / "sub" / "a.yml", folder)
    assert place(tmp_path, str(folder / "sub" / "a.yml")) == Place(folder / "sub" / "a.yml", folder)
    assert place(tmp_path, str(tmp_path / "other" / "a.yml")) == Place(tmp_path / "other" / "a.yml", tmp_path / "other")


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("absent.yml", Reason.COMPOSE_FILE_NOT_FOUND),
        ("folder", Reason.COMPOSE_FILE_NOT_FOUND),
        ("/absent/a.yml", Reason.COMPOSE_FILE_NOT_FOUND),
        ("../a.yml", Reason.INVALID_PATH),
    ],
)
def test_a_missing_file_is_named_k9(tmp_path: Path, named: str, reason: Reason) -> None:
    (tmp_path / "example" / "folder").mkdir(parents=True)
    (tmp_path / "a.yml").touch()
    with pytest.raises(CannotRun) as caught:
        place(tmp_path, named)
    assert caught.value.reason is reason
    if reason is Reason.COMPOSE_FILE_NOT_FOUND:
        assert caught.value.message == f"Docker Compose file not found: {tmp_path / 'example' / named}"


def test_a_folder_that_holds_what_is_the_hubs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yml").touch()
    with pytest.raises(CannotRun, match="holds the hub's own state"):
        place(tmp_path, str(tmp_path / "a.yml"), out_of_bounds=(tmp_path / ".hub",))


def test_links_are_followed_before_a_path_is_believed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "in").mkdir(parents=True)
    (folder / "there").symlink_to("in")
    (folder / "out").symlink_to(tmp_path)
    assert check_sources([folder, folder / "in", folder / "there", folder / "absent" / "x"], folder) is None
    assert check_sources([folder / "out" / "x"], folder) == f"{folder / 'out' / 'x'} leads out of the program's folder"


def test_the_copy_has_only_what_the_file_names_k4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "example"
    folder.mkdir()
    monkeypatch.setattr("tests.unit.runner.test_compose_model.FOLDER", folder)
    (folder / "docker-compose.yml").write_text(
        "services: {app: {image: '${TAG}', env_file: [a.env, {path: b.env, required: false}]}}"
    )
    (folder / "a.env").write_text("A=1\n")
    (folder / "secret").write_text("not for Compose")
    (folder / ".env").write_text("TAG=latest\nOTHER=x\n")
    copied = copy_for_compose(make_spec(), tmp_path / "copy")
    assert copied.env == {"TAG": "latest"}
    assert copied.file.parent == tmp_path / "copy" / folder.relative_to("/")
    assert sorted(path.name for path in copied.file.parent.iterdir()) == ["a.env", "docker-compose.yml"]

    (folder / "a.env").unlink()
    with pytest.raises(CannotRun, match=r"env_file 'a\.env' is not in the folder"):
        copy_for_compose(make_spec(), tmp_path / "copy")
