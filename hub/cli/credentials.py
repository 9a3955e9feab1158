"""``pyexecutorhub credentials``: made once, shown once."""

import typer

from hub import accounts
from hub.accounts_of import accounts_of
from hub.settings import Settings
from hub.state_dir import make_state_dir


async def create(settings: Settings) -> int:
    """Make credentials and print them; nothing where there are some, or where the environment presets them."""
    _, created = accounts_of(settings.hub)
    if created is not None:
        typer.echo(accounts.banner(created))
    return 0


async def rotate(settings: Settings) -> int:
    """Make new credentials and print them."""
    typer.echo(accounts.banner(accounts.rotate(make_state_dir(settings.hub.state_path))))
    return 0
