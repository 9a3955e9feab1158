"""Work that is in a hurry, and work that is not, on the one connection of a file."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runner import writer_thread
from runner.writer_thread import WriterThread

SCHEMA = "CREATE TABLE IF NOT EXISTS notes (number INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL) STRICT;"


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[WriterThread]:
    writer = WriterThread(tmp_path / "notes.db", SCHEMA)
    writer.open()
    yield writer
    writer.close()


def add(text: str, db: sqlite3.Connection) -> str:
    db.execute("INSERT INTO notes (text) VALUES (?)", (text,))
    return text


async def test_patient_work_is_committed_with_what_comes_next_and_in_its_order(
    writer: WriterThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_thread, "_PATIENT_SECONDS", 3600.0)
    done: list[str] = []
    first = writer.ask(lambda db: add("patient", db), then=done.append, patient=True)
    second = writer.ask(lambda db: add("in a hurry", db), then=done.append)
    async with asyncio.timeout(10):
        assert [await first, await second] == ["patient", "in a hurry"]
    assert done == ["patient", "in a hurry"]


async def test_patient_work_that_nothing_follows_is_committed_all_the_same(writer: WriterThread) -> None:
    async with asyncio.timeout(10):
        assert await writer.do(lambda db: add("alone", db), patient=True) == "alone"


async def test_what_follows_from_work_follows_though_nobody_waits_for_it_any_more(writer: WriterThread) -> None:
    done: list[str] = []
    waiting = asyncio.ensure_future(writer.do(lambda db: add("cancelled", db), then=done.append))
    await asyncio.sleep(0)
    waiting.cancel()
    async with asyncio.timeout(10):
        await writer.do(lambda db: add("after it", db))
    assert done == ["cancelled"]


async def test_patient_work_is_done_before_the_file_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_thread, "_PATIENT_SECONDS", 3600.0)
    writer = WriterThread(tmp_path / "closed.db", SCHEMA)
    writer.open()
    asking = writer.ask(lambda db: add("last", db), patient=True)
    async with asyncio.timeout(10):
        await asyncio.to_thread(writer.close)
        assert await asking == "last"
