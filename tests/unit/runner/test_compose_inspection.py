"""What Docker has made, held against the rules once more."""

from typing import Any

import pytest

from runner.compose_inspection import objections
from tests.unit.runner.test_compose_model import make_spec

GOOD: dict[str, Any] = {
    "HostConfig": {
        "Privileged": False,
        "NetworkMode": "hub-x_default",
        "PidMode": "",
        "IpcMode": "private",
        "CapAdd": ["CAP_CHOWN", "SETUID"],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Memory": 1024**3,
        "NanoCpus": 500_000_000,
        "PidsLimit": 256,
        "Devices": None,
    },
    "Mounts": [
        {"Type": "bind", "Source": "/home/ann/example/app"},
        {"Type": "volume", "Source": "/var/lib/docker/volumes/x/_data"},
    ],
}


def test_what_is_as_it_must_be_passes() -> None:
    assert objections(GOOD, make_spec(host="/home/ann")) == []
    shared = {**GOOD, "HostConfig": {**GOOD["HostConfig"], "NetworkMode": "container:of-the-same-project"}}
    assert objections(shared, make_spec(host="/home/ann")) == []


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("Privileged", True, "Privileged"),
        ("PublishAllPorts", True, "PublishAllPorts"),
        ("NetworkMode", "host", "NetworkMode"),
        ("PidMode", "host", "PidMode"),
        ("PidMode", "container:x", "PidMode"),
        ("IpcMode", "host", "IpcMode"),
        ("UsernsMode", "host", "UsernsMode"),
        ("CapAdd", ["SYS_ADMIN"], "capability SYS_ADMIN"),
        ("CapDrop", [], "capabilities are not dropped"),
        ("SecurityOpt", None, "it may gain privileges"),
        ("Devices", [{}], "Devices"),
        ("VolumesFrom", ["x"], "VolumesFrom"),
        ("Memory", 0, "Memory"),
        ("Memory", 2 * 1024**3, "Memory"),
        ("PidsLimit", None, "PidsLimit"),
        ("NanoCpus", 0, "NanoCpus"),
    ],
)
def test_what_is_not_is_told(field: str, value: Any, words: str) -> None:
    made = {**GOOD, "HostConfig": {**GOOD["HostConfig"], field: value}}
    assert objections(made, make_spec(host="/home/ann")) == [words]


def test_a_bind_from_elsewhere_is_told() -> None:
    made = {**GOOD, "Mounts": [{"Type": "bind", "Source": "/home/ann/example/../other"}]}
    assert objections(made, make_spec(host="/home/ann")) == ["a bind of /home/ann/example/../other"]
