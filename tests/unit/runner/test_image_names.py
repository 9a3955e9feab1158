import pytest

from runner.image_names import is_image_name, is_same_image


@pytest.mark.parametrize(
    "name",
    [
        "pyexecutorhub-base",
        "python:3.11-slim",
        "a/b/c",
        "host.example:5000/a/b:1",
        "localhost/x",
        "127.0.0.1:5000/x",
        "a__b/c--d.e",
        "x@sha256:" + "0" * 64,
        "x:tag@sha256:" + "a" * 64,
        "[::1]:5000/x",
    ],
)
def test_names_that_docker_takes(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "Upper/case",
        "a b",
        "a//b",
        "-a",
        "a:",
        "a:b:c/d e",
        "a/",
        "x@sha256:12",
        "a___b",
        "a;rm",
        "http://a/b",
        "a\n",
        "a" * 256,
    ],
)
def test_names_that_docker_refuses_r13(name: str) -> None:
    assert not is_image_name(name)


def test_a_hostile_name_costs_no_time() -> None:
    assert not is_image_name("a-" * 500 + "!")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("app", "app:latest", True),
        ("app:1", "app:1", True),
        ("app:1", "app", False),
        ("host:5000/team/app", "host:5000/team/app:latest", True),
        ("host:5000/team/app", "host/team/app:latest", False),
        ("app@sha256:" + "0" * 64, "app", False),
        ("app@sha256:" + "0" * 64, "app@sha256:" + "0" * 64, True),
        ("App", "app", False),
    ],
)
def test_a_name_without_a_tag_means_latest_c1(one: str, other: str, same: bool) -> None:
    assert is_same_image(one, other) is same
    assert is_same_image(other, one) is same
