"""Fixtures for all tests."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("hub", deadline=None)
settings.load_profile("hub")

pytest_plugins = ["tests.support.broker", "tests.support.feature_report"]

#: What a developer's shell may have set must not decide a test.
_PREFIXES = ("HUB_",)
_NAMES = {
    "API_HOST",
    "API_PORT",
    "CPU_LIMIT",
    "DOCKER_HOST",
    "EXECUTION_TIMEOUT",
    "HOST_PROJECT_DIR",
    "MAX_EXECUTIONS",
    "MEMORY_LIMIT",
    "PROJECT_DIR",
    "SECRET_KEY",
}
_KEPT = {"HUB_TEST_AMQP_URL"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tests start without the variables that steer a hub."""
    for name in list(os.environ):
        if (name.startswith(_PREFIXES) or name in _NAMES) and name not in _KEPT:
            monkeypatch.delenv(name)
    yield
