import pytest

from runner.image_names import is_image_name


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
