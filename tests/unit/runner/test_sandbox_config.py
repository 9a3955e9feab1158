import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import labels
from runner.container_config import ImageCommand, Joint, create_body, join
from runner.identity import Identity
from runner.sandbox_config import joined, joint_of, packets_of, sandbox_body
from tests.unit.runner.test_container_config import SPEC

JOINT = Joint("c1", (("/etc/hosts", "/data/hosts"),))


def test_a_sandbox_is_kept_in_its_place_and_carries_its_runner_s_labels_m13() -> None:
    body = sandbox_body("sha256:1", Identity("hub", "runner"))
    host = body["HostConfig"]

    assert (host["NetworkMode"], host["CapDrop"], host["ReadonlyRootfs"], host["Mounts"]) == ("none", ["ALL"], True, [])
    assert (host["SecurityOpt"], host["Privileged"], body["User"]) == (["no-new-privileges"], False, "65534:65534")
    assert body["Labels"] == {
        labels.MANAGED: "true",
        labels.INSTANCE: "hub",
        labels.RUNNER_ID: "runner",
        labels.NETWORK_SANDBOX: "true",
    }


def test_who_joins_a_sandbox_gets_its_network_and_its_files_read_only_and_nothing_else_changes() -> None:
    alone, together = create_body(SPEC, ImageCommand()), join(create_body(SPEC, ImageCommand()), JOINT)

    assert together["HostConfig"].pop("NetworkMode") == "container:c1"
    assert together["HostConfig"]["Mounts"].pop() == {
        "Type": "bind",
        "Source": "/data/hosts",
        "Target": "/etc/hosts",
        "ReadOnly": True,
    }
    del alone["HostConfig"]["NetworkMode"]
    assert together == alone


def test_what_is_shared_is_told_by_docker_s_description_of_the_sandbox() -> None:
    described = {"Id": "c1", "HostsPath": "/d/hosts", "HostnamePath": "/d/hostname", "ResolvConfPath": "/d/resolv.conf"}
    joint = joint_of(described)
    assert joint.files == (
        ("/etc/hosts", "/d/hosts"),
        ("/etc/hostname", "/d/hostname"),
        ("/etc/resolv.conf", "/d/resolv.conf"),
    )
    assert joined(joint.network_mode) == "c1"
    assert joined("none") is None


@pytest.mark.parametrize(
    ("answer", "packets"),
    [
        (b"7 lo: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n", 0),
        (b"7 lo: 840 10 0 0 0 0 0 0 840 9 0 0 0 0 0 0\n", 19),
        # Long counts are not parted from the name.
        (b"7 lo:123456789 3 0 0 0 0 0 0 123456789 4 0 0 0 0 0 0\n", 7),
        (b"6 lo: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n", None),
        (b"7 eth0: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n", None),
        (b"7 lo: 0 0\n", None),
        (b"", None),
    ],
)
def test_what_a_sandbox_answers_is_only_believed_where_it_is_an_answer(answer: bytes, packets: int | None) -> None:
    assert packets_of(answer, 7) == packets


@given(answer=st.binary(max_size=80))
def test_no_bytes_upset_who_reads_an_answer(answer: bytes) -> None:
    packets_of(answer, 1)
