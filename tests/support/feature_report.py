"""A pytest plugin: which rows of tests/features.py this session has shown, left in the folder that FEATURE_RESULTS names."""

import json
import os
import uuid
from pathlib import Path

import pytest

from tests.features import rows_of

_PROPERTY = "features"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test tells its rows along with its result, which also reaches the process that several workers report to."""
    for item in items:
        function = getattr(item, "function", None)
        if function is not None and (rows := rows_of(function.__name__, function.__doc__)):
            item.user_properties.append((_PROPERTY, rows))


class FeatureReport:
    """Collects how the tests of each row ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._outcomes: dict[str, set[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the test itself, and whatever else of it did not go well."""
        if report.when == "call" or report.outcome != "passed":
            for name, rows in report.user_properties:
                if name == _PROPERTY:
                    assert isinstance(rows, list)
                    for row in rows:
                        self._outcomes.setdefault(row, set()).add(report.outcome)

    def pytest_sessionfinish(self) -> None:
        """Leave the results for ``python -m tests.features``."""
        self._folder.mkdir(parents=True, exist_ok=True)
        content = {row: sorted(how) for row, how in self._outcomes.items()}
        (self._folder / f"{uuid.uuid4()}.json").write_text(json.dumps(content), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """Report from the one process that sees every result."""
    folder = os.environ.get("FEATURE_RESULTS")
    if folder and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FeatureReport(Path(folder)))
