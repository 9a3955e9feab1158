"""What Docker's words about a pull come to."""

import pytest

from runner.pulls import PullProgress, image_not_found, pull_failed, pull_timed_out
from schemas.reasons import Category, Reason

SEED = (
    "Docker image '{}' not found and could not be pulled. Please ensure the image exists locally or is available in a registry."
)


def test_a_pull_rises_from_nothing_to_all_over_its_layers() -> None:
    stream: list[dict[str, object]] = [
        {"status": "Pulling from library/python", "id": "3.11-slim"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "a"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "b"},
        {"status": "Already exists", "progressDetail": {}, "id": "c"},
        {"status": "Downloading", "progressDetail": {"current": 50, "total": 100}, "id": "a"},
        {"status": "Download complete", "progressDetail": {}, "id": "a"},
        {"status": "Extracting", "progressDetail": {"current": 60, "total": 100}, "id": "a"},
        {"status": "Pull complete", "progressDetail": {}, "id": "a"},
        {"status": "Download complete", "progressDetail": {}, "id": "b"},
        {"status": "Pull complete", "progressDetail": {}, "id": "b"},
        {"status": "Digest: sha256:00"},
    ]
    progress = PullProgress()

    assert [progress.feed(message) for message in stream] == [None, 0, 0, 0, 12, 25, 40, 50, 75, 100, 100]


@pytest.mark.parametrize("detail", [None, {}, {"current": 1}, {"current": 1, "total": 0}, {"current": "x", "total": 2}])
def test_details_that_say_nothing_are_no_progress(detail: object) -> None:
    assert PullProgress().feed({"id": "a", "status": "Downloading", "progressDetail": detail}) == 0


@pytest.mark.parametrize(
    ("image", "cause", "reason"),
    [
        ("registry.example/a/b:1", "manifest unknown", Reason.IMAGE_NOT_FOUND),
        (
            "nope",
            "pull access denied for nope, repository does not exist or may require 'docker login'",
            Reason.IMAGE_NOT_FOUND,
        ),
        ("a:9", "manifest for a:9 not found: manifest unknown: manifest unknown", Reason.IMAGE_NOT_FOUND),
        (
            "registry.example/a/b",
            'Get "https://registry.example/v2/": dial tcp: lookup registry.example: no such host',
            Reason.NETWORK,
        ),
        ("reg.local:5000/x", "net/http: TLS handshake timeout", Reason.NETWORK),
        ("localhost/x", 'Get "https://localhost/v2/": x509: certificate signed by unknown authority', Reason.NETWORK),
        ("local-tool", 'Get "https://registry.example/v2/": dial tcp: no such host', Reason.IMAGE_NOT_FOUND),
        ("registry.example/a/b", "toomanyrequests: You have reached your pull rate limit", Reason.IMAGE_PULL_FAILED),
        ("registry.example/a/b", "unauthorized: authentication required", Reason.IMAGE_PULL_FAILED),
        ("registry.example/a/b", "no space left on device", Reason.IMAGE_PULL_FAILED),
    ],
)
def test_r12_v1_v4_the_seeds_sentence_comes_first_then_the_cause(image: str, cause: str, reason: Reason) -> None:
    failed = pull_failed(image, cause)

    assert failed.reason is reason
    assert failed.message == f"{SEED.format(image)} Docker says: {cause}"


def test_an_image_error_is_an_image_error_and_a_network_a_systems_v1_v4() -> None:
    assert image_not_found("x").message == SEED.format("x")
    assert pull_timed_out("x", 300.0).message == f"{SEED.format('x')} Pulling it took longer than 300 s."
    assert {Reason.IMAGE_NOT_FOUND.category, Reason.IMAGE_PULL_FAILED.category} == {Category.IMAGE}
    assert Reason.NETWORK.category is Category.SYSTEM


def test_a_cause_is_one_line_of_bearable_length() -> None:
    assert pull_failed("x", "a\nb  c").message.endswith("Docker says: a b c")
    assert len(pull_failed("x", "y" * 9000).message) < 1000
