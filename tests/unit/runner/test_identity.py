from pathlib import Path

import pytest

from runner.errors import BadIdentity
from runner.identity import load_identity


def test_an_identity_is_made_once_and_kept(tmp_path: Path) -> None:
    first = load_identity(tmp_path / "state")
    assert load_identity(tmp_path / "state") == first
    assert load_identity(tmp_path / "other") != first
    assert first.instance != first.runner_id
    assert first.source == f"/runner/{first.runner_id}"


def test_a_given_name_goes_before_a_kept_one_and_is_not_kept(tmp_path: Path) -> None:
    kept = load_identity(tmp_path)
    assert load_identity(tmp_path, instance="prod", runner_id="host-1").instance == "prod"
    assert load_identity(tmp_path) == kept


@pytest.mark.parametrize("name", ["a b", "-a", "ü", "a" * 64, "a/b"])
def test_a_name_that_is_no_label_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadIdentity):
        load_identity(tmp_path, runner_id=name)
