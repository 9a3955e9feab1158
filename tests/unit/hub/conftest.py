"""What the tests of the hub's read side share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.view import View


@pytest.fixture
async def view(tmp_path: Path) -> AsyncIterator[View]:
    """An open view on a file of its own."""
    opened = View(tmp_path / "view.db", readers=2)
    await opened.open()
    yield opened
    await opened.close()
