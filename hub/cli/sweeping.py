"""``pyexecutorhub sweep``: what the runner of this state directory has left on Docker, shown or removed."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import typer

from hub.errors import HubError
from hub.settings import HubSettings, Settings
from runner import labels
from runner.claimed_names import claimed_names, epoch_of
from runner.docker_engine import DockerEngine
from runner.errors import EngineUnavailable, JournalLocked
from runner.identity import Identity, load_identity
from runner.journal import Journal
from runner.sweeper import Stray, find_strays
from schemas.printable import printable

_COLUMNS = ("KIND", "NAME", "EXECUTION", "PROGRAM", "WHY")


async def sweep(settings: Settings, *, dry_run: bool, as_json: bool) -> int:
    """Remove what nobody owns any more and print it, or with ``dry_run`` only print it: then a runner may be at work.

    Raises:
        HubError: a runner is at work, which sweeps by itself.
        RunnerError: Docker is away, or the journal can't be used.
    """
    hub = settings.hub
    identity = _known_identity(hub)
    if identity is None:
        _print([], as_json=as_json)
        return 0
    journal_path = hub.state_path / "journal.db"
    async with AsyncExitStack() as stack:
        if not dry_run:
            # While this has the journal, no runner begins.
            await _take(journal_path, hub.sweep_seconds, stack)
        engine = DockerEngine(identity=identity, socket_path=hub.docker_host.removeprefix("unix://"))
        stack.push_async_callback(engine.close)
        epoch = await asyncio.to_thread(epoch_of, journal_path)

        async def is_anothers(said: Mapping[str, str]) -> bool:
            # Whether another journal's epoch is over, only the bus could tell.
            return said.get(labels.EPOCH) not in (None, epoch)

        strays = await find_strays(engine, partial(asyncio.to_thread, claimed_names, journal_path), is_anothers)
        _print(strays, as_json=as_json)
        left = 0
        for stray in () if dry_run else strays:
            try:
                await engine.remove(stray.belonging)
            except EngineUnavailable as error:
                typer.echo(f"error: {error}", err=True)
                left += 1
    return 1 if left else 0


def _known_identity(hub: HubSettings) -> Identity | None:
    """Who the runner of this state directory is; ``None`` where none has ever been. Nothing is made."""
    kept = {"instance": hub.instance, "runner-id": hub.runner_id}
    if any(said is None and not (hub.state_path / name).exists() for name, said in kept.items()):
        return None
    return load_identity(hub.state_path, instance=hub.instance, runner_id=hub.runner_id)


async def _take(journal_path: Path, sweep_seconds: float, stack: AsyncExitStack) -> None:
    journal = Journal(journal_path)
    try:
        await journal.open()
    except JournalLocked as error:
        raise HubError(
            f"the runner of {journal_path.parent} is at work, and sweeps by itself every {sweep_seconds:g} s:"
            " --dry-run shows what it would remove"
        ) from error
    stack.push_async_callback(journal.close)


def _print(strays: list[Stray], *, as_json: bool) -> None:
    rows = [_row(stray) for stray in strays]
    if as_json:
        typer.echo(json.dumps([dict(zip(map(str.lower, _COLUMNS), row, strict=True)) for row in rows], indent=2))
        return
    if not rows:
        typer.echo("nothing to remove")
        return
    table = [_COLUMNS, *([printable(text or "-") for text in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(_COLUMNS) - 1)]
    for row in table:
        typer.echo("  ".join([*(f"{text:<{width}}" for text, width in zip(row, widths, strict=False)), row[-1]]))


def _row(stray: Stray) -> tuple[str, str, str | None, str | None, str]:
    said = stray.belonging.labels
    kind, name = stray.belonging.kind.value, stray.belonging.name
    return kind, name, said.get(labels.EXECUTION_ID), said.get(labels.PROGRAM_ID), stray.why
