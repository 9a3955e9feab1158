"""Faults on real processes, too slow for every day: make test-faults runs them."""

from tests.e2e.conftest import make_hub
from tests.support.docker import docker_instance, python_image
from tests.support.own_engine import own_engine

__all__ = ["docker_instance", "make_hub", "own_engine", "python_image"]
