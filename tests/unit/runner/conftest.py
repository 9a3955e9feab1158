"""Surroundings with the fake engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runner.journal import Journal
from tests.support.runner_fixtures import Hub, make_hub


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    """One program, ``example``, and the fake engine."""
    hub = make_hub(tmp_path)
    yield hub
    await hub.engine.close()


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """An open journal."""
    journal = Journal(tmp_path / "journal.db")
    await journal.open()
    yield journal
    await journal.close()
