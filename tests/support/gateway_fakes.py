"""The ports of the gateway in memory, and a gateway on top of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bus.messages import Claim, Decision, End, Message, Proposal
from bus.ports import Commands, Decisions, Delivery
from gateway.app import make_app
from gateway.overlay import Overlay
from gateway.throttle import Throttle
from gateway.tokens import Tokens
from schemas.catalogue import Catalogue
from schemas.commands import digest_of, parse_execute
from schemas.containers import Container, ContainerLog, Gathered
from schemas.executions import CleanedUp, Execution, Held, Page, Remembered, Statistics, Wanted
from schemas.following import Piece, Place, Sight
from schemas.output import Output
from schemas.programs import Program, ProgramKind
from schemas.settings import ProgramSettings
from schemas.status import Status
from schemas.times import utc_now
from tests.support.dead_letter_fakes import FakeDeadLetters
from tests.support.token_fakes import FakeApiTokens

USERNAME = "tester42"
PASSWORD = "correct horse battery staple"
SIGNING_KEY = bytes(range(32))


def program(key: str, **fields: Any) -> Program:
    """A script whose id and name are its key, unless told otherwise."""
    return Program.model_validate(
        {"key": key, "id": key, "name": key, "kind": ProgramKind.SCRIPT, "path": f"scripts/{key}"} | fields
    )


def catalogue(*programs: Program, **settings: Any) -> Catalogue:
    """A catalogue of these programs."""
    return Catalogue(programs=programs, settings=ProgramSettings(**settings), project_dir=Path("/project"))


class FakeCatalogues:
    """A catalogue that tests replace by hand."""

    def __init__(self, current: Catalogue) -> None:
        self.current = current
        self.problem: str | None = None


class FakeCommands:
    """Accepts commands into a list, as fast or as badly as a test wants."""

    def __init__(self) -> None:
        self.accepted: list[tuple[str, Message]] = []
        self.queue_lengths: dict[str, int] = {}
        self.waiting_error: Exception | None = None
        self.accept_error: Exception | None = None
        #: Cleared, publishes hang until it is set again.
        self.may_confirm = asyncio.Event()
        self.may_confirm.set()
        #: Set once somebody publishes.
        self.publishing = asyncio.Event()

    async def accept(self, pool: str, message: Message) -> None:
        if self.accept_error is not None:
            raise self.accept_error
        self.publishing.set()
        await self.may_confirm.wait()
        self.accepted.append((pool, message))

    async def retry(self, pool: str, message: Message) -> None:
        raise NotImplementedError

    async def waiting(self, pool: str) -> int:
        if self.waiting_error is not None:
            raise self.waiting_error
        return self.queue_lengths.get(pool, 0)

    def unsettled(self) -> int:
        return 0

    async def take(self, pool: str, free_slots: int) -> Delivery:
        raise AssertionError(f"a gateway takes no commands, not {free_slots} of {pool} either")

    async def stop_taking(self) -> None:
        raise AssertionError("a gateway takes no commands")


class FakeDecisions:
    """The first proposal of each execution decides it."""

    def __init__(self) -> None:
        self.made: dict[str, Decision] = {}
        #: Every proposal, in order.
        self.proposed: list[Proposal] = []
        #: Errors that the next calls raise, one each.
        self.errors: list[Exception] = []
        #: Cleared, deciding hangs until it is set again.
        self.may_decide = asyncio.Event()
        self.may_decide.set()

    async def decide(self, proposal: Proposal) -> Decision:
        self.proposed.append(proposal)
        await self.may_decide.wait()
        if self.errors:
            raise self.errors.pop(0)
        return self.made.setdefault(proposal.execution_id, proposal)

    def claim(self, execution_id: str, digest: str) -> None:
        """A runner takes it."""
        self.made[execution_id] = Claim(execution_id=execution_id, attempt=1, epoch="e", nonce="n", digest=digest)

    async def decision_for(self, execution_id: str, attempt: int) -> Decision | None:
        raise AssertionError(f"a gateway proposes, and does not only ask about {execution_id}, {attempt}")

    def watch(self) -> AsyncIterator[Decision]:
        raise AssertionError("a gateway does not watch")

    async def end_of(self, execution_id: str) -> End | None:
        raise AssertionError(f"a gateway proposes, and does not only ask about {execution_id}")

    def gaps(self) -> AsyncIterator[None]:
        raise NotImplementedError

    def ends(self) -> AsyncIterator[End]:
        raise AssertionError("the holder looks for ends, and a handler does not")


class MemoryView:
    """A view that shows what tests put in, and tells who waits for endings."""

    def __init__(self) -> None:
        self.executions: dict[str, Execution] = {}
        self.outputs: dict[str, Output] = {}
        self.removed: dict[str, Execution] = {}
        self.recent = 0
        self.error: Exception | None = None
        #: How often single executions were asked for.
        self.finds = 0
        #: Ids that are waited for.
        self.waited_for: set[str] = set()
        self._changed = asyncio.Condition()
        #: What was published so far of the outputs, in order; and those who follow.
        self.pieces: dict[str, list[Piece]] = {}
        self.bells: dict[str, set[asyncio.Event]] = {}
        #: How often somebody looked from a place on.
        self.sights = 0

    async def put(self, execution: Execution, output: Output | None = None, *pieces: Piece) -> None:
        """Show this from now on, and these pieces of output besides those that are there."""
        self.executions[execution.execution_id] = execution
        if output is not None:
            self.outputs[execution.execution_id] = output
        self.pieces.setdefault(execution.execution_id, []).extend(pieces)
        for bell in self.bells.get(execution.execution_id, ()):
            bell.set()
        async with self._changed:
            self._changed.notify_all()

    async def sight(self, execution_id: str, place: Place) -> Sight | None:
        self.sights += 1
        self._fail()
        execution = self.executions.get(execution_id)
        if execution is None:
            return None
        published = self.pieces.get(execution_id, [])
        pieces = [piece for piece in published if piece.sequence >= place.read[piece.stream].chunks]
        counted = sum(summary.chunks for summary in (execution.stdout, execution.stderr) if summary is not None)
        complete = not pieces and execution.status.is_terminal and len(published) >= counted
        return Sight(execution=execution, pieces=tuple(pieces), complete=complete)

    @contextmanager
    def watching(self, execution_id: str) -> Iterator[asyncio.Event]:
        bell = asyncio.Event()
        self.bells.setdefault(execution_id, set()).add(bell)
        try:
            yield bell
        finally:
            self.bells[execution_id].discard(bell)

    async def find(self, execution_id: str) -> Execution | None:
        self.finds += 1
        self._fail()
        return self.executions.get(execution_id)

    async def record(self, execution_id: str) -> tuple[Execution, Output] | None:
        execution = await self.find(execution_id)
        if execution is None:
            return None
        return execution, await self.output(execution_id) if execution.status.is_terminal else Output()

    async def remembered(self, execution_id: str) -> Remembered | None:
        self._fail()
        for executions in (self.executions, self.removed):
            if (execution := executions.get(execution_id)) is not None:
                return Remembered(
                    execution_id=execution_id,
                    status=execution.status,
                    digest=execution.digest,
                    accepted_at=execution.accepted_at,
                    removed=executions is self.removed,
                )
        return None

    async def output(self, execution_id: str, attempt: int | None = None) -> Output:
        self._fail()
        return self.outputs.get(execution_id if attempt is None else f"{execution_id}.{attempt}", Output())

    async def page(self, limit: int, wanted: Wanted, before: int | None) -> Page:
        self._fail()
        # As in the log, an execution's place is the number of those up to it.
        oldest_first = sorted(self.executions.values(), key=lambda one: one.accepted_at or utc_now())
        found = [
            (place, one)
            for place, one in reversed(list(enumerate(oldest_first, 1)))
            if wanted.matches(one) and (before is None or place < before)
        ]
        rows = [(one, await self.output(one.execution_id)) for _, one in found[:limit]]
        return Page(rows, found[limit - 1][0] if len(found) > limit else None)

    async def running(self) -> list[Execution]:
        return [execution for execution in self.executions.values() if execution.status is Status.RUNNING]

    async def held(self) -> Held:
        self._fail()
        finished = sum(execution.status.is_terminal for execution in self.executions.values())
        return Held(total=len(self.executions), finished=finished)

    async def statistics(self) -> Statistics:
        self._fail()
        by_status: dict[Status, dict[str, int]] = {}
        for execution in self.executions.values():
            programs = by_status.setdefault(execution.status, {})
            programs[execution.program_id] = programs.get(execution.program_id, 0) + 1
        return Statistics(by_status=by_status, recent=self.recent)

    async def wait(self, execution_id: str, timeout_seconds: float) -> bool:
        def has_ended() -> bool:
            return (execution := self.executions.get(execution_id)) is not None and execution.status.is_terminal

        self.waited_for.add(execution_id)
        try:
            async with asyncio.timeout(timeout_seconds), self._changed:
                await self._changed.wait_for(has_ended)
        except TimeoutError:
            return False
        finally:
            self.waited_for.discard(execution_id)
        return True

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error


class FakeCleanups:
    """Removes what has ended from a view in memory, or fails as a test says."""

    def __init__(self, view: MemoryView) -> None:
        self._view = view
        self.error: Exception | None = None
        #: Who has asked.
        self.requested_by: list[str] = []

    async def clean_up(self, *, requested_by: str) -> CleanedUp:
        self.requested_by.append(requested_by)
        if self.error is not None:
            raise self.error
        ended = [key for key, execution in self._view.executions.items() if execution.status.is_terminal]
        for execution_id in ended:
            self._view.removed[execution_id] = self._view.executions.pop(execution_id)
        return CleanedUp(removed=len(ended), remaining=len(self._view.executions))


class FakeFleet:
    """Runners whose answers tests write."""

    def __init__(self) -> None:
        #: Runner id → how many it runs at the same time.
        self.limits: dict[str, int] = {}
        self.active: Gathered[Container] = Gathered(found=(), asked=0)
        self.logs: Gathered[ContainerLog] = Gathered(found=(), asked=0)
        self.error: Exception | None = None
        #: Images whose logs were asked for.
        self.images: list[str] = []

    def size(self) -> int:
        return len(self.limits)

    def capacity(self) -> int | None:
        return sum(self.limits.values()) or None

    async def active_containers(self) -> Gathered[Container]:
        if self.error is not None:
            raise self.error
        return self.active

    async def container_logs(self, image: str) -> Gathered[ContainerLog]:
        self.images.append(image)
        if self.error is not None:
            raise self.error
        return self.logs


class FakeHealth:
    """As well as a test says."""

    def __init__(self) -> None:
        self.wrong: dict[str, str] = {}
        self.can_accept = True
        self.found: dict[str, str] = {}

    def versions(self) -> dict[str, str]:
        return self.found

    def problems(self) -> dict[str, str]:
        return self.wrong

    def ready(self) -> bool:
        return self.can_accept


class FakeAccounts:
    """One user, without the cost of a real hash."""

    def __init__(self) -> None:
        self.checks = 0

    async def verify(self, username: str, password: str) -> bool:
        self.checks += 1
        return (username, password) == (USERNAME, PASSWORD)


@dataclass
class FakeRoom:
    """A disk with room, until a test says what is wrong."""

    problem: str | None = None


@dataclass(kw_only=True)
class World:
    """Everything around one gateway."""

    catalogues: FakeCatalogues
    commands: FakeCommands = field(default_factory=FakeCommands)
    decisions: FakeDecisions = field(default_factory=FakeDecisions)
    view: MemoryView = field(default_factory=MemoryView)
    cleanups: FakeCleanups = field(init=False)
    dead_letters: FakeDeadLetters = field(default_factory=FakeDeadLetters)
    fleet: FakeFleet = field(default_factory=FakeFleet)
    health: FakeHealth = field(default_factory=FakeHealth)
    accounts: FakeAccounts = field(default_factory=FakeAccounts)
    api_tokens: FakeApiTokens = field(default_factory=FakeApiTokens)
    overlay: Overlay = field(default_factory=Overlay)
    throttle: Throttle = field(default_factory=Throttle)
    room: FakeRoom = field(default_factory=FakeRoom)
    queue_length: int = 100
    accept_limit_seconds: float = 1.8
    clock: Callable[[], datetime] = utc_now

    def __post_init__(self) -> None:
        self.cleanups = FakeCleanups(self.view)

    def app(self, *, commands: Commands | None = None, decisions: Decisions | None = None) -> web.Application:
        """A gateway in this world, or on some other bus."""
        return make_app(
            catalogues=self.catalogues,
            commands=commands or self.commands,
            decisions=decisions or self.decisions,
            view=self.view,
            endings=self.view,
            cleanups=self.cleanups,
            dead_letters=self.dead_letters,
            fleet=self.fleet,
            health=self.health,
            accounts=self.accounts,
            api_tokens=self.api_tokens,
            signing_key=SIGNING_KEY,
            queue_length=self.queue_length,
            room=self.room,
            version="2.0.0.test",
            accept_limit_seconds=self.accept_limit_seconds,
            overlay=self.overlay,
            throttle=self.throttle,
            clock=self.clock,
        )

    async def follow(self, *, status: Status = Status.QUEUED, **fields: Any) -> Execution:
        """Show the command that was accepted last in the view, as the projector would."""
        _, message = self.commands.accepted[-1]
        execution_id, command = parse_execute(message.id, message.body)
        execution = Execution(
            execution_id=execution_id,
            program_id=command.program_id,
            status=status,
            submitted_by=command.submitted_by,
            accepted_at=command.accepted_at,
            digest=digest_of(command),
        )
        execution = replace(execution, **fields)
        await self.view.put(execution)
        return execution


Client = TestClient[web.Request, web.Application]


@asynccontextmanager
async def client_of(app: web.Application, *, token: str | None = None) -> AsyncIterator[Client]:
    """A client of this gateway, with a valid token unless another is given; an empty one is not sent."""
    token = Tokens(SIGNING_KEY).issue(USERNAME) if token is None else token
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    server = TestServer(app)
    await server.start_server(auto_decompress=False)
    async with TestClient(server, headers=headers) as client:
        yield client
