"""``pyexecutorhub config``: config.yaml, judged before a hub has to."""

from collections.abc import Mapping
from typing import Any

import typer

from hub import origins
from hub.bootstrap import config_file
from hub.settings import Settings


async def show(settings: Settings, flags: Mapping[str, Any], *, origin: bool) -> int:
    """Print every setting as it holds, and where it comes from.

    Raises:
        ConfigError: with every mistake in config.yaml.
    """
    for title, rows in (
        ("settings of programs", origins.program_settings(config_file(settings), settings)),
        ("settings of the hub", origins.hub_settings(settings.hub, flags)),
    ):
        typer.echo(f"# {title}")
        for row in rows:
            typer.echo(f"{row.name}: {row.value}" + (f"  # {row.source}" if origin else ""))
    return 0


async def check(settings: Settings) -> int:
    """Read config.yaml with the variables that stand above and below it, and say what is in it.

    Raises:
        ConfigError: with every mistake in it.
    """
    file = config_file(settings)
    catalogue = file.load()
    programs = list(catalogue)
    enabled = sum(program.enabled for program in programs)
    typer.echo(f"{file.path}: {len(programs)} programs, {enabled} of them enabled; nothing is wrong")
    return 0
