"""The requirement locks belong together: what is measured and tested is what is installed."""

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_PIN = re.compile(r"^([A-Za-z0-9._-]+==[^ ]+)", re.MULTILINE)


def pins(lock: str) -> set[str]:
    return set(_PIN.findall((_ROOT / lock).read_text()))


@pytest.mark.parametrize("larger", ["requirements-dev.lock", "requirements-bench.lock"])
def test_tests_and_benchmark_run_on_the_very_versions_that_are_installed(larger: str) -> None:
    installed = pins("requirements.lock")
    assert any(pin.startswith("uvloop==") for pin in installed)
    assert installed <= pins(larger)
