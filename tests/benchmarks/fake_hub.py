"""The command line of the hub with an engine without containers: ``python -m tests.benchmarks.fake_hub up|runner …``."""

from unittest import mock

from hub.__main__ import main
from runner.fake_engine import FakeEngine


def _fake(*_engines: object) -> FakeEngine:
    return FakeEngine()


if __name__ == "__main__":
    with mock.patch("hub.runner_role.Engines", _fake):
        main()
