"""Which CA certificates programs are given."""

from pathlib import Path

import pytest

from hub.ca_bundle import find_ca_bundle
from hub.errors import SettingsError
from hub.settings import HubSettings


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """Variables of a machine whose pip is told nothing."""
    return {"HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "xdg")}


def bundle(folder: Path, name: str) -> str:
    path = folder / name
    path.write_text("certificates")
    return str(path)


def test_nothing_is_given_where_nothing_is_set(machine: dict[str, str]) -> None:
    assert find_ca_bundle(HubSettings(), machine, ()) is None


def test_what_pip_is_told_wins_over_what_python_is_told(tmp_path: Path, machine: dict[str, str]) -> None:
    expected = []
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        machine[variable] = bundle(tmp_path, variable)
        expected.append(find_ca_bundle(HubSettings(), machine, ()))
    (tmp_path / "xdg" / "pip").mkdir(parents=True)
    (tmp_path / "xdg" / "pip" / "pip.conf").write_text(f"[global]\ncert = {bundle(tmp_path, 'xdg.pem')}\nretries = 5%\n")
    expected.append(find_ca_bundle(HubSettings(), machine, ()))
    machine["PIP_CONFIG_FILE"] = str(tmp_path / "own.conf")
    (tmp_path / "own.conf").write_text(f"[global]\ncert = {bundle(tmp_path, 'own.pem')}\n")
    expected.append(find_ca_bundle(HubSettings(), machine, ()))
    machine["PIP_CERT"] = bundle(tmp_path, "PIP_CERT")
    expected.append(find_ca_bundle(HubSettings(), machine, ()))
    ours = HubSettings(ca_bundle=Path(bundle(tmp_path, "ours.pem")))
    expected.append(find_ca_bundle(ours, machine, ()))

    names = [path.name for path in expected if path is not None]
    assert names == ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "xdg.pem", "own.pem", "PIP_CERT", "ours.pem"]


def test_a_file_that_is_not_there_is_no_file_and_a_mistake_where_it_was_asked_for(
    tmp_path: Path, machine: dict[str, str]
) -> None:
    machine["PIP_CERT"] = str(tmp_path / "absent.pem")
    assert find_ca_bundle(HubSettings(), machine, ()) is None
    with pytest.raises(SettingsError, match="HUB_CA_BUNDLE names no file"):
        find_ca_bundle(HubSettings(ca_bundle=tmp_path / "absent.pem"), machine, ())


def test_none_and_a_host_of_another_kind_give_nothing(tmp_path: Path, machine: dict[str, str]) -> None:
    machine["PIP_CERT"] = bundle(tmp_path, "PIP_CERT")
    assert find_ca_bundle(HubSettings(ca_bundle=Path("none")), machine, ()) is None
    assert find_ca_bundle(HubSettings(host_project_dir=Path("/host")), machine, ()) is None


def test_a_host_that_sees_the_project_where_it_is_here_is_this_machine(tmp_path: Path, machine: dict[str, str]) -> None:
    machine["PIP_CERT"] = bundle(tmp_path, "PIP_CERT")
    found = find_ca_bundle(HubSettings(project_dir=tmp_path, host_project_dir=tmp_path), machine, ())
    assert found == tmp_path / "PIP_CERT"


def test_a_file_of_pip_that_can_not_be_read_is_passed_over(tmp_path: Path, machine: dict[str, str]) -> None:
    machine["PIP_CONFIG_FILE"] = str(tmp_path / "own.conf")
    (tmp_path / "own.conf").write_bytes(b"\xff no section\n")
    assert find_ca_bundle(HubSettings(), machine, ()) is None
