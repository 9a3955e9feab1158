"""What a restricted Compose file would make Compose read."""

import pytest

from runner.compose_source import EnvFile, read_source, usable_env
from runner.compose_yaml import BadYaml


def test_env_files_are_found_in_each_of_their_spellings() -> None:
    source = read_source(
        b"services:\n  a: {env_file: a.env}\n  b: {env_file: [b.env, {path: c.env, required: false}]}\n  c: {image: x}\n"
    )
    assert source.env_files == (EnvFile("a.env", True), EnvFile("b.env", True), EnvFile("c.env", False))
    assert source.refusals == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("include: [x.yml]\nservices: {a: {image: x}}", "include"),
        ("services: {a: {extends: {file: x.yml, service: b}}}", "extends from another file"),
        ("services: {a: {label_file: x}}", "label_file"),
        ("services: {a: {provider: {type: x}}}", "provider"),
        ("services: {a: {env_file: /etc/passwd}}", "without variables"),
        ("services: {a: {env_file: '${PARAM_X}'}}", "without variables"),
        ("services: {a: {env_file: [3]}}", "without variables"),
    ],
)
def test_what_would_read_elsewhere_is_refused(text: str, why: str) -> None:
    (refusal,) = read_source(text.encode()).refusals
    assert why in refusal


@pytest.mark.parametrize("text", ["a: 1", "services:", "services: {}", "services: [a]", "services: {a: b}"])
def test_a_file_without_services_can_not_be_used(text: str) -> None:
    with pytest.raises(BadYaml):
        read_source(text.encode())


def test_extending_a_service_of_the_same_file_is_fine() -> None:
    assert read_source(b"services: {a: {image: x}, b: {extends: a}, c: {extends: {service: a}}}").refusals == ()


def test_of_env_only_what_the_file_names_and_what_steers_nothing_is_used_k4() -> None:
    words = read_source(b"services: {a: {image: '${TAG}', environment: [BARE, 'X=$PATH$DOCKER_HOST$LD_PRELOAD']}}").words
    env = {"TAG": "1", "BARE": "2", "OTHER": "3", "PATH": "4", "DOCKER_HOST": "5", "LD_PRELOAD": "6", "COMPOSE_FILE": "7"}
    assert usable_env(env, words) == {"TAG": "1", "BARE": "2"}
