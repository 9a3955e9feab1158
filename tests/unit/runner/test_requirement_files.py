"""What decides what pip installs is all known: two folders that look the same get the same packages."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.errors import CannotRun
from runner.requirement_files import RequirementFiles, included_path, is_local, logical_lines, read_requirements
from runner.requirements import requirements_of
from schemas.reasons import Reason


def read(folder: Path) -> RequirementFiles | None:
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return read_requirements(root, "program 'p'")
    finally:
        os.close(root)


def digest(folder: Path, **env: str) -> str:
    wanted = requirements_of(read(folder), None, env, 1.0)
    assert wanted is not None
    return wanted.digest


@pytest.mark.parametrize("text", [None, "", "# nothing\n\n   # at all\n"])
def test_a_folder_that_asks_for_nothing_asks_for_nothing_r4(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "requirements.txt").write_text(text)

    assert read(tmp_path) is None
    assert requirements_of(None, None, {}, 1.0) is None


def test_files_that_are_included_are_followed_beneath_the_folder(tmp_path: Path) -> None:
    (tmp_path / "req").mkdir()
    (tmp_path / "requirements.txt").write_text("-r req/base.txt\n-c constraints.txt\n-r https://example.org/x.txt\nsix\n")
    (tmp_path / "req" / "base.txt").write_text("-r ../more.txt\n-r ../../outside.txt\n-r /etc/passwd\n-r missing.txt\n")
    (tmp_path / "more.txt").write_text("-rrequirements.txt\nidna\n")
    (tmp_path / "constraints.txt").write_text("six==1.16.0\n")
    (tmp_path.parent / "outside.txt").write_text("never\n")

    found = read(tmp_path)

    assert found is not None
    assert set(found.contents) == {"requirements.txt", "req/base.txt", "more.txt", "constraints.txt"}
    assert found.folder_state is None


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("six\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "requirements.txt").symlink_to("../secret")

    with pytest.raises(CannotRun, match="can't be opened") as caught:
        read(folder)
    assert caught.value.reason is Reason.INVALID_PATH


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("six\n", ["six"]),
        ("six \\\n  ==1.0\n", ["six   ==1.0"]),
        ("six # why\n#-r x\n", ["six"]),
        ("a#b\n", ["a#b"]),
        ("\ufeffsix", ["six"]),
        ("six \\", ["six"]),
    ],
)
def test_lines_are_read_as_pip_reads_them(text: str, lines: list[str]) -> None:
    assert list(logical_lines(text)) == lines


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("-r a.txt", "f/a.txt"),
        ("-ra.txt", "f/a.txt"),
        ("--requirement=a.txt", "f/a.txt"),
        ("--constraint ../a.txt", "a.txt"),
        ("-c 'a b.txt'", "f/a b.txt"),
        ("-r ../../a.txt", None),
        ("-r /a.txt", None),
        ("-c https://x/a.txt", None),
        ("-r a\0b", None),
        ("requests", None),
    ],
)
def test_an_included_file_is_named_from_the_file_that_includes_it(line: str, path: str | None) -> None:
    assert included_path(line, "f") == path


@pytest.mark.parametrize(
    "line",
    [
        "-e .",
        "--editable=lib",
        "./lib",
        "lib/",
        "../x",
        "x.whl",
        "dist/x-1.tar.gz[extra]",
        "-f wheels",
        "--find-links=w",
        "x @ file:///workspace/x",
        "--index-url file:///workspace/simple",
    ],
)
def test_packages_in_the_folder_are_noticed(line: str) -> None:
    assert is_local(line)


@pytest.mark.parametrize(
    "line",
    [
        "six",
        "six[extra]>=1,<2; python_version < '3.9'",
        "x @ https://example.org/x.whl",
        "git+https://example.org/x.git@v1",
        "-e git+https://example.org/x.git#egg=x",
        "-i https://example.org/simple",
        "--pre",
        "-r other/file.txt",
        "--find-links https://example.org/wheels",
        "six --hash=sha256:00",
    ],
)
def test_packages_from_elsewhere_do_not_make_the_folder_matter(line: str) -> None:
    assert not is_local(line)


def _edit_requirements(folder: Path) -> None:
    (folder / "requirements.txt").write_text("six==1.15.0\n-r more.txt\n")


def _edit_included(folder: Path) -> None:
    (folder / "more.txt").write_text("idna\n")


@pytest.mark.parametrize("edit", [_edit_requirements, _edit_included])
def test_r4_m36_whatever_changes_what_is_asked_for_changes_the_digest(tmp_path: Path, edit: Callable[[Path], None]) -> None:
    (tmp_path / "requirements.txt").write_text("six==1.16.0\n-r more.txt\n")
    before = digest(tmp_path)
    (tmp_path / "main.py").write_text("print(1)")
    assert digest(tmp_path, API_KEY="x") == before
    edit(tmp_path)
    assert digest(tmp_path) != before


def test_a_change_in_the_folder_counts_where_packages_lie_there(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "requirements.txt").write_text("./lib\n")
    (tmp_path / "lib" / "setup.py").write_text("1")
    before = digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_text("x")
    assert digest(tmp_path) == before
    (tmp_path / "lib" / "setup.py").write_text("22")
    assert digest(tmp_path) != before


def test_pip_is_told_what_concerns_it_alone(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("git+https://${TOKEN}@example.org/x.git\n")
    env = {"TOKEN": "t", "PIP_INDEX_URL": "https://i", "https_proxy": "p", "API_KEY": "secret", "PATH": "/x"}

    wanted = requirements_of(read(tmp_path), None, env, 1.0)

    assert wanted is not None
    assert wanted.env == {"TOKEN": "t", "PIP_INDEX_URL": "https://i", "https_proxy": "p"}
    assert wanted.digest != digest(tmp_path, **{**env, "TOKEN": "other"})
    assert "https://i" not in repr(wanted)


def test_h5_the_program_and_the_actions_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("six\n")
    found = read(tmp_path)

    both, one, other = (requirements_of(*pair, {}, 1.0) for pair in ((found, found), (found, None), (None, found)))

    assert both is not None
    assert one is not None
    assert other is not None
    assert both.roots == ("workspace/requirements.txt", "actions/requirements.txt")
    assert (both.title, other.title) == ("requirements.txt and actions/requirements.txt", "actions/requirements.txt")
    assert len({both.digest, one.digest, other.digest}) == 3


def test_what_is_too_much_is_refused(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("x" * (1024 * 1024 + 1))
    with pytest.raises(CannotRun, match="longer than a megabyte"):
        read(tmp_path)
    (tmp_path / "requirements.txt").write_text("".join(f"-r {number}.txt\n" for number in range(60)))
    for number in range(60):
        (tmp_path / f"{number}.txt").write_text("six\n")
    with pytest.raises(CannotRun, match="more than 50 files"):
        read(tmp_path)
