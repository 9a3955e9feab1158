"""Fixtures for all tests."""

import asyncio
import os
from collections.abc import Callable, Iterator
from importlib import import_module

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("hub", deadline=None)
settings.load_profile("hub")

pytest_plugins = ["tests.support.broker", "tests.support.feature_report"]


# ``HUB_TEST_EVENT_LOOP=uvloop`` runs all tests on uvloop; without it they run on Python's own loop.
if os.environ.get("HUB_TEST_EVENT_LOOP") == "uvloop":

    def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
        """What tests run on."""
        return {"uvloop": import_module("uvloop").new_event_loop}


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
_KEPT = {"HUB_TEST_AMQP_URL", "HUB_TEST_EVENT_LOOP"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tests start without the variables that steer a hub."""
    for name in list(os.environ):
        if (name.startswith(_PREFIXES) or name in _NAMES) and name not in _KEPT:
            monkeypatch.delenv(name)
    yield
