"""Faults on real processes, too slow for every day: make test-full runs them."""

from tests.e2e.conftest import make_hub

__all__ = ["make_hub"]
