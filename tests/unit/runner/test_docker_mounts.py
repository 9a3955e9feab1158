"""Where a container's folders are on the host, by what Docker says of its mounts."""

from pathlib import Path

from runner.docker_mounts import mounted_from

MOUNTS = [
    {"Destination": "/project", "Source": "/home/somebody/hub"},
    {"Destination": "/project/scripts/big", "Source": "/data/big"},
    {"Destination": "/state", "Source": "/var/lib/docker/volumes/state/_data"},
]


def test_a_folder_below_a_mount_is_below_its_source() -> None:
    assert mounted_from(MOUNTS, Path("/project")) == Path("/home/somebody/hub")
    assert mounted_from(MOUNTS, Path("/project/scripts")) == Path("/home/somebody/hub/scripts")


def test_the_innermost_mount_decides() -> None:
    assert mounted_from(MOUNTS, Path("/project/scripts/big/one")) == Path("/data/big/one")


def test_a_folder_that_is_not_mounted_has_no_place_on_the_host() -> None:
    assert mounted_from(MOUNTS, Path("/projects")) is None
