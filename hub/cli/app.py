"""The commands and their options.

Each imports what it needs itself: so none pays for the others, and a runner that was killed is back the sooner.
"""

from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from bus.errors import BusError
from bus.messages import DeadReason
from gateway.errors import GatewayError
from hub.errors import HubError, ServiceDied
from hub.event_loop import EventLoop
from hub.event_loop import run as run_on
from hub.log_setup import set_up_logging
from hub.role import Role
from hub.settings import Settings, load_settings
from hub.version import version
from runner.errors import RunnerError
from schemas.tokens import Scope

app = typer.Typer(
    name="pyexecutorhub",
    help="Runs scripts and bots in fresh Docker containers, on demand.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
credentials_app = typer.Typer(help="The user name and password of this hub.", no_args_is_help=True)
app.add_typer(credentials_app, name="credentials")
config_app = typer.Typer(help="The config.yaml of this hub.", no_args_is_help=True)
app.add_typer(config_app, name="config")
token_app = typer.Typer(help="Long-lived tokens for scripts and cron.", no_args_is_help=True)
app.add_typer(token_app, name="token")
dlq_app = typer.Typer(help="Dead letters: commands that nobody will run.", no_args_is_help=True)
app.add_typer(dlq_app, name="dlq")

Config = Annotated[Path | None, typer.Option("--config", "-c", help="config.yaml to read. [HUB_CONFIG]", show_default=False)]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on. [API_HOST]", show_default=False)]
Port = Annotated[int | None, typer.Option("--port", help="Port to listen on. [API_PORT]", show_default=False)]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version())
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True, show_default=False),
]


@app.callback()
def _main(_version: Version = False) -> None:
    """Runs scripts and bots in fresh Docker containers, on demand."""


#: What the shell sees of a setting or a configuration that can't be used.
_EXIT_UNUSABLE = 2


def _settings(**flags: Any) -> Settings:
    try:
        return load_settings(**flags)
    except HubError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(_EXIT_UNUSABLE) from error


def _run(coroutine: Coroutine[Any, Any, int], event_loop: EventLoop = EventLoop.ASYNCIO) -> None:
    try:
        code = run_on(coroutine, event_loop)
    except (HubError, GatewayError, RunnerError, BusError) as error:
        if isinstance(error, ServiceDied):
            structlog.get_logger().error("died", action="service_died", service=error.name, exc_info=error.__cause__)
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code if isinstance(error, HubError) else 1) from error
    raise typer.Exit(code)


def _serve(settings: Settings, *roles: Role) -> None:
    from hub.bootstrap import serve

    set_up_logging(settings.hub.log_level, log_file=settings.hub.log_file)
    _run(serve(settings, frozenset(roles)), settings.hub.event_loop)


@app.command()
def up(config: Config = None, host: Host = None, port: Port = None) -> None:
    """Gateway and runner in one process, on the embedded bus unless HUB_BUS_URL says otherwise."""
    _serve(_settings(config=config, api_host=host, api_port=port), Role.GATEWAY, Role.RUNNER)


@app.command()
def gateway(config: Config = None, host: Host = None, port: Port = None) -> None:
    """The HTTP service, with projector and announcer inside."""
    _serve(_settings(config=config, api_host=host, api_port=port), Role.GATEWAY)


@app.command()
def runner(config: Config = None) -> None:
    """The service that runs programs on this host's Docker engine."""
    _serve(_settings(config=config), Role.RUNNER)


@app.command()
def run(
    program: Annotated[str, typer.Argument(help="Id or key of the program.")],
    parameter: Annotated[list[str] | None, typer.Option("--param", "-p", help="KEY=VALUE, becomes PARAM_KEY.")] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key", help="Called again with the same key within 24 hours, show that run instead of another."
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Run a program on the hub of this machine; its output is ours, and so is its exit status. Ctrl-C cancels it."""
    from hub.cli import client

    _run(client.run_program(_settings(config=config), program, parameter or [], idempotency_key=idempotency_key))


@app.command()
def follow(
    execution_id: Annotated[str, typer.Argument(help="As run, execute or the list of executions gave it.")],
    config: Config = None,
) -> None:
    """Show the output of an execution on the hub of this machine as it is written; its exit status is ours."""
    from hub.cli import following

    _run(following.follow(_settings(config=config), execution_id))


@app.command()
def cancel(
    execution_id: Annotated[str, typer.Argument(help="As run, execute or the list of executions gave it.")],
    reason: Annotated[str | None, typer.Option("--reason", help="Why; it becomes part of the record.")] = None,
    config: Config = None,
) -> None:
    """End an execution on the hub of this machine: what waits never starts, what runs is stopped."""
    from hub.cli import client

    _run(client.cancel(_settings(config=config), execution_id, reason))


@app.command()
def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show it; a runner may be at work.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    config: Config = None,
) -> None:
    """Remove from Docker what this hub's runner has left there and nobody owns any more; a running one does so by itself."""
    from hub.cli import sweeping

    _run(sweeping.sweep(_settings(config=config), dry_run=dry_run, as_json=json))


@config_app.command("check")
def config_check(config: Config = None) -> None:
    """Read config.yaml as the hub would: every mistake with its line and column and exit status 2, or a summary and 0."""
    from hub.cli import configuration

    _run(configuration.check(_settings(config=config)))


@config_app.command("show")
def config_show(
    origin: Annotated[bool, typer.Option("--origin", help="Say where each comes from.")] = False,
    config: Config = None,
    host: Host = None,
    port: Port = None,
) -> None:
    """Print every setting as it holds; secrets show as stars."""
    flags = {"config": config, "api_host": host, "api_port": port}
    from hub.cli import configuration

    _run(configuration.show(_settings(**flags), flags, origin=origin))


@credentials_app.command("create")
def credentials_create(config: Config = None) -> None:
    """Make credentials and show them, unless there are some already."""
    from hub.cli import credentials

    _run(credentials.create(_settings(config=config)))


@credentials_app.command("rotate")
def credentials_rotate(config: Config = None) -> None:
    """Make new credentials and show them; the old ones and all logins end at the hub's next start, long-lived tokens do not."""
    from hub.cli import credentials

    _run(credentials.rotate(_settings(config=config)))


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    days: Annotated[int | None, typer.Option("--days", help="Days until it ends by itself.", min=1, max=3650)] = None,
    scope: Annotated[Scope, typer.Option("--scope", help="run: for running, cancelling that, and reading.")] = Scope.ALL,
    config: Config = None,
) -> None:
    """Make a token and print it, this once and nothing else, so that scripts can take it."""
    from hub.cli import tokens

    _run(tokens.create(_settings(config=config), name, days, scope))


@token_app.command("list")
def token_list(config: Config = None) -> None:
    """The tokens that hold: id, scope, end, and name."""
    from hub.cli import tokens

    _run(tokens.show_all(_settings(config=config)))


@token_app.command("revoke")
def token_revoke(
    token_id: Annotated[str, typer.Argument(help="Its id, as list shows it.")],
    config: Config = None,
) -> None:
    """End a token, for good and on every gateway."""
    from hub.cli import tokens

    _run(tokens.revoke(_settings(config=config), token_id))


OfReason = Annotated[DeadReason | None, typer.Option("--reason", help="Only those of this reason.", show_default=False)]
OneLetter = Annotated[str | None, typer.Argument(help="Its id, as list shows it.", show_default=False)]
AllLetters = Annotated[bool, typer.Option("--all", help="The newest, up to --limit, instead of one.")]
MostLetters = Annotated[int, typer.Option("--limit", help="How many at most.", min=1, max=20_000)]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


def _one_or_all(letter_id: str | None, all_: bool) -> None:
    if (letter_id is None) is not all_:
        raise typer.BadParameter("name one dead letter, or say --all")


@dlq_app.command("list")
def dlq_list(reason: OfReason = None, limit: MostLetters = 100, json: AsJson = False, config: Config = None) -> None:
    """The newest dead letters, the newest first: id, time, and why."""
    from hub.cli import dead_letters

    _run(dead_letters.show_all(_settings(config=config), reason, limit, as_json=json))


@dlq_app.command("show")
def dlq_show(
    letter_id: Annotated[str, typer.Argument(help="Its id, as list shows it.")],
    json: AsJson = False,
    raw: Annotated[bool, typer.Option("--raw", help="The bytes of its body and nothing else, for a file.")] = False,
    config: Config = None,
) -> None:
    """One dead letter with its body; what a terminal might act on is escaped."""
    from hub.cli import dead_letters

    _run(dead_letters.show(_settings(config=config), letter_id, as_json=json, raw=raw))


@dlq_app.command("redrive")
def dlq_redrive(
    letter_id: OneLetter = None,
    all_: AllLetters = False,
    reason: OfReason = None,
    limit: MostLetters = 1000,
    body: Annotated[Path | None, typer.Option("--body", help="File with the JSON to run instead.", show_default=False)] = None,
    config: Config = None,
) -> None:
    """Run dead letters again, as new executions whose ids are printed; asked twice, it is still one execution each."""
    _one_or_all(letter_id, all_)
    from hub.cli import dead_letters

    _run(dead_letters.redrive(_settings(config=config), letter_id, reason, limit, body_file=body))


@dlq_app.command("discard")
def dlq_discard(
    letter_id: OneLetter = None,
    all_: AllLetters = False,
    reason: OfReason = None,
    limit: MostLetters = 1000,
    config: Config = None,
) -> None:
    """Let go of dead letters, for good."""
    _one_or_all(letter_id, all_)
    from hub.cli import dead_letters

    _run(dead_letters.discard(_settings(config=config), letter_id, reason, limit))
