"""The allowlist for Compose files, and the project that is made of what it lets through."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runner import labels
from runner.compose_model import built_image, make_project
from runner.compose_project import Condition, Project
from runner.compose_rules import CAPABILITIES
from runner.compose_spec import ComposeSpec, Place, plan_compose
from runner.errors import CannotRun
from runner.identity import Identity
from runner.run_spec import HostPaths, Owner
from schemas.programs import ComposeProfile
from schemas.reasons import Reason
from schemas.settings import ProgramSettings
from tests.support.runner_fixtures import make_program

ID = "01a20afb-890e-728b-8a27-c7e1c8c72c78"
FOLDER = Path("/project/example")


def make_spec(*, attempt: int = 1, host: str = "/project", has_actions: bool = False, **fields: Any) -> ComposeSpec:
    return plan_compose(
        make_program(**fields),
        ProgramSettings(),
        Place(FOLDER / "docker-compose.yml", FOLDER),
        execution_id=ID,
        attempt=attempt,
        parameters={"my-key": 3},
        paths=HostPaths(Path("/project"), Path(host)),
        owner=Owner(Identity("inst", "run"), "epoch"),
        now=datetime(2026, 1, 1, tzinfo=UTC),
        has_actions=has_actions,
    )


def project_of(service: dict[str, Any], *, host: str = "/project", trusted: bool = False, **top: Any) -> Project:
    profile = ComposeProfile.TRUSTED if trusted else ComposeProfile.RESTRICTED
    spec = make_spec(compose_profile=profile, host=host)
    return make_project({"services": {"app": {"image": "debian", **service}}, **top}, spec, working_copy=Path("/tmp/copy"))


def made(service: dict[str, Any], **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = project_of(service, **options).document["services"]["app"]
    return found


def test_a_spec_has_its_own_project_and_variables_k4_k10() -> None:
    spec = make_spec(parameters="--x", has_actions=True)
    assert (spec.name, spec.project) == (ID, f"hub-{ID}")
    assert make_spec(attempt=2).project == f"hub-{ID}-2"
    assert spec.env == {"PARAM_MY_KEY": "3", "PROGRAM_ID": "example", "EXECUTION_ID": ID, "EXECUTION_ATTEMPT": "1"}
    assert spec.command_line == ("docker", "compose", "-p", f"hub-{ID}", "-f", "/project/example/docker-compose.yml", "up")
    assert [note.split(" are not")[0] for note in spec.notes] == ["configured parameters", "actions"]
    assert spec.labels[labels.COMPOSE_PROJECT] == spec.project


@pytest.mark.parametrize(
    "service",
    [
        {"command": "sh -c 'a'", "entrypoint": ["a"], "working_dir": "/x", "user": "1000", "hostname": "h", "init": True},
        {"healthcheck": {"test": ["CMD", "true"], "interval": "1s"}, "expose": ["80"], "read_only": True, "tmpfs": ["/tmp"]},
        {"dns": ["1.1.1.1"], "stdin_open": True, "stop_signal": "SIGINT", "stop_grace_period": "3s", "platform": "linux/amd64"},
        {"shm_size": "64m", "group_add": ["7"], "extra_hosts": ["a:10.0.0.1"], "network_mode": "none"},
    ],
)
def test_what_is_harmless_is_kept(service: dict[str, Any]) -> None:
    kept = made(service)
    assert {key: kept[key] for key in service} == service


@pytest.mark.parametrize(
    "key",
    [
        "restart",
        "container_name",
        "logging",
        "deploy",
        "profiles",
        "pull_policy",
        "develop",
        "cpu_quota",
        "x-mine",
        "depends_on",
    ],
)
def test_what_a_run_has_no_use_for_is_left_out(key: str) -> None:
    value: Any = {"container_name": "a", "restart": "always", "profiles": [], "cpu_quota": 5000}.get(key, {})
    kept = made({key: value})
    assert key not in kept or (key, kept[key]["driver"]) == ("logging", "local")


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ({"privileged": True}, "privileged"),
        ({"cap_add": ["SYS_ADMIN"]}, "cap_add: SYS_ADMIN"),
        ({"cap_add": ["ALL"]}, "cap_add: ALL"),
        ({"devices": ["/dev/sda:/dev/sda"]}, "devices"),
        ({"device_cgroup_rules": ["c 1:3 r"]}, "device_cgroup_rules"),
        ({"gpus": "all"}, "gpus"),
        ({"runtime": "x"}, "runtime"),
        ({"pid": "host"}, "pid"),
        ({"pid": "service:app"}, "pid"),
        ({"ipc": "host"}, "ipc: host"),
        ({"ipc": "container:x"}, "ipc: container:x"),
        ({"uts": "host"}, "uts"),
        ({"userns_mode": "host"}, "userns_mode"),
        ({"cgroup": "host"}, "cgroup"),
        ({"cgroup_parent": "x"}, "cgroup_parent"),
        ({"network_mode": "host"}, "network_mode: host"),
        ({"network_mode": "container:x"}, "network_mode: container:x"),
        ({"security_opt": ["seccomp:unconfined"]}, "security_opt: seccomp:unconfined"),
        ({"security_opt": ["no-new-privileges:false"]}, "security_opt: no-new-privileges:false"),
        ({"sysctls": {"a": 1}}, "sysctls"),
        ({"volumes_from": ["container:x"]}, "volumes_from"),
        ({"external_links": ["x"]}, "external_links"),
        ({"extra_hosts": ["a:host-gateway"]}, "extra_hosts: host-gateway"),
        ({"extra_hosts": {"a": "host-gateway"}}, "extra_hosts: host-gateway"),
        ({"oom_kill_disable": True}, "oom_kill_disable"),
        ({"use_api_socket": True}, "use_api_socket"),
        ({"provider": {"type": "x"}}, "provider"),
        ({"post_start": [{"command": "x"}]}, "post_start"),
        ({"pre_stop": [{"command": "x"}]}, "pre_stop"),
        ({"credential_spec": {}}, "credential_spec"),
        ({"isolation": "x"}, "isolation"),
        ({"annotations": {}}, "annotations"),
        ({"storage_opt": {}}, "storage_opt"),
        ({"blkio_config": {}}, "blkio_config"),
        ({"mac_address": "x"}, "mac_address"),
        ({"models": ["x"]}, "models"),
        ({"what_comes_next_year": 1}, "what_comes_next_year"),
        ({"image": "Not An Image"}, "image"),
        ({"image": None}, "image"),
        ({"scale": 11}, "more than 10 containers"),
        ({"mem_limit": "much"}, "memory limit"),
        ({"volumes": ["/etc:/x"]}, "/etc is not in the program's folder"),
        ({"volumes": ["/project/example/../other:/x"]}, "is not in the program's folder"),
        ({"volumes": [{"type": "bind", "source": "/etc", "target": "/x"}]}, "/etc is not"),
        ({"volumes": ["/project/example/a:/x:shared"]}, "volumes: shared"),
        ({"volumes": [{"type": "bind", "source": str(FOLDER), "target": "/x", "bind": {"propagation": "rshared"}}]}, "rshared"),
        ({"volumes": [{"type": "bind", "source": str(FOLDER), "target": "/x", "bind": {"recursive": "x"}}]}, "recursive"),
        ({"volumes": [{"type": "volume", "source": "v", "target": "/x", "volume": {"subpath": "x"}}]}, "subpath"),
        ({"volumes": [{"type": "npipe", "source": "x", "target": "/x"}]}, "type npipe"),
        ({"volumes": [{"type": "image", "source": "x", "target": "/x"}]}, "type image"),
        ({"ports": ["0.0.0.0:80:80"]}, "0.0.0.0 is not a loopback address"),
        ({"ports": [{"target": 80, "published": "80", "host_ip": "192.168.0.1"}]}, "192.168.0.1"),
        ({"ports": ["eighty"]}, "can't be understood"),
        ({"networks": {"default": {"ipv4_address": "10.0.0.1"}}}, "ipv4_address"),
        ({"networks": {"default": {"driver_opts": {}}}}, "driver_opts"),
        ({"build": {"context": "/etc"}}, "build: context: /etc"),
        ({"build": "https://example.org/x.git"}, "build: context"),
        ({"build": {"context": "/project/example", "dockerfile": "../Dockerfile"}}, "build: dockerfile"),
        ({"build": {"context": "/project/example", "dockerfile": "/etc/passwd"}}, "build: dockerfile: /etc/passwd"),
        ({"build": {"context": "/project/example", "network": "host"}}, "build: network"),
        ({"build": {"context": "/project/example", "ssh": ["default"]}}, "build: ssh"),
        ({"build": {"context": "/project/example", "privileged": True}}, "build: privileged"),
        ({"build": {"context": "/project/example", "additional_contexts": {"a": "/"}}}, "build: additional_contexts"),
        ({"build": {"context": "/project/example", "extra_hosts": ["a:host-gateway"]}}, "build: extra_hosts"),
        ({"build": {"context": "/project/example", "tags": ["pyexecutorhub-base"]}}, "build: tags"),
    ],
)  # fmt: skip
def test_what_reaches_beyond_the_container_is_refused_by_its_name(service: dict[str, Any], words: str) -> None:
    with pytest.raises(CannotRun) as caught:
        project_of(service)
    assert caught.value.reason is Reason.COMPOSE_REFUSED
    assert words in caught.value.message
    assert "compose_profile: trusted" in caught.value.message


@pytest.mark.parametrize(
    ("top", "words"),
    [
        ({"networks": {"n": {"external": True}}}, "network 'n': external"),
        ({"networks": {"n": {"name": "bridge"}}}, "network 'n': name"),
        ({"networks": {"n": {"driver": "macvlan"}}}, "network 'n': driver macvlan"),
        ({"networks": {"n": {"ipam": {"config": [{"subnet": "10.0.0.0/8"}]}}}}, "network 'n': ipam"),
        ({"volumes": {"v": {"external": True}}}, "volume 'v': external"),
        ({"volumes": {"v": {"name": "somebody-elses"}}}, "volume 'v': name"),
        ({"volumes": {"v": {"driver": "local", "driver_opts": {"device": "/"}}}}, "volume 'v': driver_opts"),
        ({"volumes": {"v": {"driver": "nfs"}}}, "volume 'v': driver nfs"),
        ({"secrets": {"s": {"file": "/etc/shadow"}}}, "/etc/shadow"),
        ({"secrets": {"s": {"external": True}}}, "external"),
        ({"configs": {"c": {"driver": "x"}}}, "driver"),
        ({"include": ["x"]}, "include"),
        ({"models": {"m": {}}}, "models"),
    ],
)
def test_what_a_project_may_not_have_is_refused(top: dict[str, Any], words: str) -> None:
    with pytest.raises(CannotRun, match="is refused") as caught:
        project_of({}, **top)
    assert words in caught.value.message


def test_every_refusal_is_told_at_once() -> None:
    with pytest.raises(CannotRun) as caught:
        project_of({"privileged": True, "pid": "host"}, volumes={"v": {"external": True}})
    assert [word in caught.value.message for word in ("privileged", "pid", "external")] == [True] * 3


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, (1024**3, 0.5, 256)),
        ({"mem_limit": "50m", "cpus": "0.25", "pids_limit": 10}, (50 * 1024**2, 0.25, 10)),
        ({"mem_limit": 52428800}, (50 * 1024**2, 0.5, 256)),
        ({"deploy": {"resources": {"limits": {"memory": "104857600", "cpus": 0.2, "pids": 5}}}}, (100 * 1024**2, 0.2, 5)),
        ({"mem_limit": "64g", "cpus": 32, "pids_limit": -1}, (1024**3, 0.5, 256)),
    ],
)
def test_limits_are_imposed_and_can_only_be_lowered(asked: dict[str, Any], expected: tuple[int, float, int]) -> None:
    kept = made(asked)
    assert (kept["mem_limit"], kept["cpus"], kept["pids_limit"]) == expected
    assert kept["memswap_limit"] == kept["mem_limit"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, list(CAPABILITIES)),
        ({"cap_drop": ["ALL"]}, []),
        ({"cap_drop": ["all"], "cap_add": ["CAP_CHOWN", "net_bind_service"]}, ["CHOWN", "NET_BIND_SERVICE"]),
        ({"cap_drop": ["KILL"]}, [each for each in CAPABILITIES if each != "KILL"]),
    ],
)
def test_capabilities_are_dropped_but_those_that_common_images_start_with(asked: dict[str, Any], expected: list[str]) -> None:
    kept = made(asked)
    assert (kept["cap_drop"], kept["cap_add"], kept["security_opt"]) == (["ALL"], expected, ["no-new-privileges:true"])


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ("80", "127.0.0.1::80/tcp"),
        ("8080:80", "127.0.0.1:8080:80/tcp"),
        ("127.0.0.1:8080:80/udp", "127.0.0.1:8080:80/udp"),
        ("127.0.0.1::80", "127.0.0.1::80/tcp"),
        ({"target": 80, "published": "8080", "protocol": "tcp", "mode": "ingress"}, "127.0.0.1:8080:80/tcp"),
        ({"target": 80, "host_ip": "::1"}, "[::1]::80/tcp"),
        ("3000-3005", "127.0.0.1::3000-3005/tcp"),
    ],
)
def test_ports_are_on_loopback(port: Any, expected: str) -> None:
    assert made({"ports": [port]})["ports"] == [expected]


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        ("/tmp/copy/project/example/app:/app:rw", "/home/ann/example/app:/app:rw"),
        ({"type": "bind", "source": "/tmp/copy/project/example/app", "target": "/app", "bind": {"create_host_path": True}},
         "/home/ann/example/app:/app"),
        ({"type": "bind", "source": "/tmp/copy/project/example/app", "target": "/app", "read_only": True},
         "/home/ann/example/app:/app:ro"),
        ({"type": "bind", "source": "/tmp/copy/project/example/a:b", "target": "/app"},
         {"type": "bind", "source": "/home/ann/example/a:b", "target": "/app", "read_only": False}),
        ("data:/data", "data:/data"),
        ({"type": "volume", "source": "data", "target": "/data", "volume": {}}, "data:/data"),
        ({"type": "volume", "source": "data", "target": "/data", "volume": {"nocopy": True}}, "data:/data:nocopy"),
        ("/data", "/data"),
        ({"type": "tmpfs", "target": "/x", "tmpfs": {"size": 5}}, {"type": "tmpfs", "target": "/x"}),
    ],
)  # fmt: skip
def test_mounts_are_as_the_engines_host_sees_them_k3(mount: Any, expected: Any) -> None:
    assert made({"volumes": [mount]}, host="/home/ann")["volumes"] == [expected]


def test_the_image_of_a_build_is_the_programs_own_whatever_the_file_calls_it() -> None:
    project = project_of({"build": "/tmp/copy/project/example", "image": "pyexecutorhub-base"})
    service = project.document["services"]["app"]
    assert service["image"] == built_image(make_spec(), "app")
    assert service["image"].startswith("pyexecutorhub-compose/example-app-")
    assert service["build"]["context"] == "/project/example"
    assert service["build"]["labels"] == {labels.BUILT_FOR: "example", labels.INSTANCE: "inst"}
    assert project.is_built
    assert project.sources == (FOLDER, FOLDER / "Dockerfile")


def test_build_arguments_without_a_value_are_left_out_k4() -> None:
    build = {"context": "/project/example", "args": {"A": "1", "HOME": None}}
    assert made({"build": build})["build"]["args"] == {"A": "1"}


def test_a_name_of_its_own_becomes_an_alias_in_each_network() -> None:
    kept = made(
        {"container_name": "db", "networks": {"back": {"aliases": ["x"]}, "front": None}}, networks={"back": {}, "front": {}}
    )
    assert kept["networks"] == {"back": {"aliases": ["x", "db"]}, "front": {"aliases": ["db"]}}
    assert made({"container_name": "db"})["networks"] == {"default": {"aliases": ["db"]}}


def test_labels_go_on_everything_and_can_not_be_claimed_by_the_file_k5() -> None:
    spec = make_spec()
    project = project_of(
        {"labels": {"mine": "1", labels.EXECUTION_ID: "another's", "com.docker.compose.project": "x"}},
        networks={"back": {"labels": ["mine=2"]}},
        volumes={"data": None},
    )
    assert project.document["services"]["app"]["labels"] == {"mine": "1", **spec.labels}
    assert project.document["networks"]["back"]["labels"] == {"mine": "2", **spec.labels}
    assert project.document["networks"]["default"]["labels"] == spec.labels
    assert project.document["volumes"]["data"]["labels"] == spec.labels


def test_dollars_stay_what_they_were_and_variables_without_value_are_left_out_k4() -> None:
    kept = made({"environment": {"A": "a$$b", "B": None, "C": True, "D": 3}, "command": ["echo", "$$HOME"]})
    assert kept["environment"] == {"A": "a$$b", "C": "true", "D": "3"}
    assert kept["command"] == ["echo", "$$HOME"]
    assert made({"environment": ["A=b=c", "BARE"]})["environment"] == {"A": "b=c"}


def test_a_trusted_file_keeps_all_but_what_would_keep_it_from_ending() -> None:
    asked = {
        "privileged": True,
        "pid": "host",
        "volumes": ["/etc:/x"],
        "ports": ["80:80"],
        "cap_add": ["ALL"],
        "restart": "always",
    }
    kept = made({**asked, "mem_limit": "64g", "container_name": "mine"}, trusted=True, networks={"n": {"external": True}})
    assert {key: kept[key] for key in asked if key != "restart"} == {key: asked[key] for key in asked if key != "restart"}
    assert "restart" not in kept
    assert (kept["mem_limit"], kept["container_name"], kept["tty"]) == (64 * 1024**3, "mine", False)
    assert kept["labels"] == make_spec().labels
    assert "security_opt" not in kept


def test_services_know_what_they_need_and_which_are_the_last() -> None:
    services = {
        "app": {"image": "a", "depends_on": {"db": {"condition": "service_healthy"}, "absent": {"required": False}}},
        "db": {"image": "b", "depends_on": ["net"]},
        "net": {"image": "c"},
        "beside": {"image": "d", "network_mode": "service:net"},
        "never": {"image": "e", "profiles": ["debug"]},
    }
    project = make_project({"services": services}, make_spec(), working_copy=None)
    assert project.services["app"].needs == {"db": Condition.HEALTHY}
    assert project.services["beside"].needs == {"net": Condition.STARTED}
    assert project.last == {"app", "beside"}
    assert project.stop_order() == [["app"], ["beside", "db"], ["net"]]
    assert "never" not in project.document["services"]
    assert all("depends_on" not in service for service in project.document["services"].values())


def test_services_that_need_each_other_are_refused() -> None:
    services = {"a": {"image": "x", "links": ["b"]}, "b": {"image": "x", "depends_on": ["a"]}}
    with pytest.raises(CannotRun, match="in a circle"):
        make_project({"services": services}, make_spec(), working_copy=None)
