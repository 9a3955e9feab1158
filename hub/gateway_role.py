"""The gateway's part of the composition root, with projector and announcer."""

from contextlib import AsyncExitStack

import structlog
import typer

from bus.messages import StreamName
from bus.ports import Bus
from gateway.app import make_app
from gateway.server import serve as listen
from hub import accounts
from hub.accounts_of import accounts_of
from hub.announcer import Announcer
from hub.api_tokens import ApiTokens
from hub.catalogues import Catalogues
from hub.cleanups import Cleanups
from hub.duties import together
from hub.ender import Ender
from hub.endings import Endings
from hub.fleet import Fleet
from hub.gaps import Gaps
from hub.health import Health, Probe
from hub.lifecycle import Supervisor
from hub.lost_commands import LostCommands
from hub.lost_runners import LostRunners
from hub.projector import Projector
from hub.retrier import Retrier
from hub.settings import HubSettings
from hub.version import version
from hub.view import View
from runner.free_space import FreeSpace
from schemas.times import steady_now

_log = structlog.get_logger()

#: Seconds that a start waits for the long-lived tokens to be read.
_TOKENS_SECONDS = 5.0


async def open_view(stack: AsyncExitStack, hub: HubSettings) -> View:
    """The view, open for as long as the stack goes on."""
    view = View(hub.state_path / "view.db", clock=steady_now)
    stack.push_async_callback(view.close)
    await view.open()
    return view


async def start_gateway(
    stack: AsyncExitStack,
    tasks: Supervisor,
    health: Health,
    probes: dict[str, Probe],
    hub: HubSettings,
    bus: Bus,
    catalogues: Catalogues,
    view: View,
    free_space: FreeSpace,
) -> None:
    """Make the gateway and start it. In the end nobody is let in before the stack goes on."""
    endings = Endings(view)
    gaps = Gaps()
    ender = Ender(bus.decisions, bus.streams, view)
    retrier = Retrier(bus.commands, bus.decisions, bus.streams, view, lambda: catalogues.current)
    lost_commands = LostCommands(bus.commands, bus.decisions, bus.streams, bus.leases, bus.dead_letters, view)
    lost_runners = LostRunners(
        bus.decisions,
        bus.epochs,
        bus.leases,
        bus.streams,
        view,
        retry_of=lambda name: catalogues.current.retry_of(name),
        lease_seconds=hub.lease_seconds,
    )
    api_tokens = ApiTokens(bus.streams, gaps=gaps, snapshots_file=hub.state_path / "tokens-from.json")
    announcer = Announcer(
        bus.announcements,
        view,
        duty=together(ender.run, retrier.run, lost_commands.run, lost_runners.run, api_tokens.keep_short),
        log_end=lambda: bus.streams.end(StreamName.LOG),
    )

    def wake() -> None:
        announcer.wake()
        retrier.wake()

    cleanups = Cleanups(bus.streams)
    projector = Projector(
        bus.streams,
        view,
        endings,
        keep_finished=lambda: catalogues.current.settings.max_executions,
        on_transitions=wake,
        on_cleanups=cleanups.applied,
        on_new_log=announcer.begin_anew,
        gaps=gaps,
    )
    tasks.start("projector", projector.run())
    tasks.start("announcer", announcer.run())
    probes |= {"view": lambda: projector.problem or announcer.problem, "history": lambda: gaps.problem}
    tasks.start("tokens", api_tokens.run())
    probes["tokens"] = lambda: api_tokens.problem
    # Whoever comes first finds them read; should that take longer, requests with such a token wait for it themselves.
    await api_tokens.caught_up(_TOKENS_SECONDS)
    users, created = accounts_of(hub)
    stack.callback(users.close)
    if created is not None:
        typer.echo(accounts.banner(created))
    tasks.start("dead letters", bus.dead_letters.follow())
    tasks.start("leases", bus.leases.follow())
    app = make_app(
        catalogues=catalogues,
        commands=bus.commands,
        decisions=bus.decisions,
        view=view,
        endings=endings,
        cleanups=cleanups,
        dead_letters=bus.dead_letters,
        fleet=Fleet(bus.leases, bus.questions),
        health=health,
        accounts=users,
        api_tokens=api_tokens,
        signing_key=users.signing_key,
        queue_length=hub.queue_length,
        room=free_space,
        version=version(),
    )
    await stack.enter_async_context(listen(app, host=hub.api_host, port=hub.api_port, leave_seconds=hub.leave_seconds))
