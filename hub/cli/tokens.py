"""``pyexecutorhub token``: long-lived tokens, made, listed and revoked by the hub of this machine."""

from urllib.parse import quote

import typer

from hub.cli.client import call, connected
from hub.settings import Settings
from schemas.tokens import Scope


async def create(settings: Settings, name: str, days: int | None, scope: Scope) -> int:
    """Make a token and print it, and nothing else to standard output.

    Raises:
        HubError: the hub does not answer, or refuses.
    """
    body = {"name": name, "days": days, "scope": scope.value}
    async with connected(settings) as session:
        made = await call(session, "POST", "/auth/tokens", body)
    typer.echo(made["token"])
    typer.echo(f"{made['id']}: kept as a hash, and not shown again", err=True)
    return 0


async def show_all(settings: Settings) -> int:
    """Print a line for each token.

    Raises:
        HubError: the hub does not answer, or refuses.
    """
    async with connected(settings) as session:
        for token in await call(session, "GET", "/auth/tokens"):
            ends = token["expires_at"] or "no end"
            typer.echo(f"{token['id']}  {token['scope']}  {ends}  {token['name']} (by {token['created_by']})")
    return 0


async def revoke(settings: Settings, token_id: str) -> int:
    """Revoke a token.

    Raises:
        HubError: the hub does not answer, or knows no such token.
    """
    async with connected(settings) as session:
        await call(session, "DELETE", f"/auth/tokens/{quote(token_id, safe='')}")
    return 0
