"""``pyexecutorhub config``: config.yaml, judged before a hub has to."""

import typer

from hub.bootstrap import config_file
from hub.settings import Settings


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
