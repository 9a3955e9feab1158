"""What the gateway needs from the hub, which implements and injects it."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from schemas.catalogue import Catalogue
from schemas.containers import Container, ContainerLog, Gathered
from schemas.executions import CleanedUp, Execution, Held, Page, Remembered, Statistics, Wanted
from schemas.following import Place, Sight
from schemas.output import Output
from schemas.tokens import Scope, TokenCreated


class Catalogues(Protocol):
    """The catalogue, kept fresh by somebody else."""

    @property
    def current(self) -> Catalogue:
        """The last good catalogue."""

    @property
    def problem(self) -> str | None:
        """What is wrong with config.yaml as it stands now, with line and column; ``None`` where it is the current one."""


class View(Protocol):
    """The read model. Every answer is a consistent snapshot, at most a batch behind the log.

    Every method may raise :class:`gateway.errors.ViewUnavailable`.
    """

    async def find(self, execution_id: str) -> Execution | None:
        """One execution, or ``None`` where the view does not know it (yet)."""

    async def record(self, execution_id: str) -> tuple[Execution, Output] | None:
        """One execution with its output, which before its end is empty; ``None`` where the view does not know it (yet)."""

    async def remembered(self, execution_id: str) -> Remembered | None:
        """What is known of an execution by its id alone, for three days also after its record was removed."""

    async def output(self, execution_id: str, attempt: int | None = None) -> Output:
        """What is known of an execution's output, or of that of an earlier attempt; empty where nothing is."""

    async def sight(self, execution_id: str, place: Place) -> Sight | None:
        """What is to be seen of an execution from a place on; ``None`` where it is not known (any more)."""

    async def page(self, limit: int, wanted: Wanted, before: int | None) -> Page:
        """The newest executions that are wanted, the newest first, with their output.

        ``before`` is what the page before this one said in ``next``; ``None`` for the first page. New executions do not
        move what is on the pages to come.

        Where all of it together would be too large to hold, some outputs are empty and not complete.
        """

    async def running(self) -> list[Execution]:
        """The executions that run now, the oldest first."""

    async def held(self) -> Held:
        """How many records there are."""

    async def statistics(self) -> Statistics:
        """Cumulative counts."""


class Cleanups(Protocol):
    """The removal of finished executions, in every view."""

    async def clean_up(self, *, requested_by: str) -> CleanedUp:
        """Write a cleanup into the log, and wait until the view here has obeyed it; what it did there.

        Raises:
            BusError: it was not written; or, where BusUnavailable says so, perhaps it was. Doing it again does no harm.
            TimeoutError: it is written, and the view here has not come to it yet.
        """


class Fleet(Protocol):
    """The runners that live, and what only they can tell."""

    def size(self) -> int:
        """How many there are. Never waits."""

    def capacity(self) -> int | None:
        """How many executions they run at the same time, all together; ``None`` where none is known. Never waits."""

    async def active_containers(self) -> Gathered[Container]:
        """The containers of this hub that run now, within a few seconds.

        Raises:
            BusError: nobody could be asked.
            gateway.errors.FleetBusy: as many questions wait for their answers as may.
        """

    async def container_logs(self, image: str) -> Gathered[ContainerLog]:
        """What those of one image have written lately, within a few seconds.

        Raises:
            BusError: nobody could be asked.
            gateway.errors.FleetBusy: as many questions wait for their answers as may.
        """


class Endings(Protocol):
    """Word of executions that end."""

    async def wait(self, execution_id: str, timeout_seconds: float) -> bool:
        """Wait until the execution has ended and the view shows it; false where it has not within the time."""

    def watching(self, execution_id: str) -> AbstractContextManager[asyncio.Event]:
        """An event that is set, inside the context, whenever the view shows something new of the execution."""


class Health(Protocol):
    """What is wrong with the hub right now."""

    def problems(self) -> dict[str, str]:
        """Component → what is wrong with it, for people; empty where all is well. Never waits."""

    def versions(self) -> dict[str, str]:
        """What the hub uses of its machine → which version was found. Never waits."""

    def ready(self) -> bool:
        """Whether an execution can be accepted now."""


class Room(Protocol):
    """Room on the disk for what is accepted."""

    @property
    def problem(self) -> str | None:
        """What is wrong, for people; ``None`` where there is room. Never waits."""


class Accounts(Protocol):
    """Who may log in."""

    async def verify(self, username: str, password: str) -> bool:
        """Whether this user has this password. Takes the same time for an unknown user."""


class ApiTokens(Protocol):
    """Long-lived tokens, the same ones on every gateway.

    Every method may raise :class:`gateway.errors.TokensUnavailable`: after a start, until they have all been read.
    """

    async def verify(self, token: str) -> TokenCreated:
        """The token that this is.

        Raises:
            InvalidToken: it was never made, was revoked, or has expired.
        """

    async def create(self, *, name: str, scope: Scope, days: int | None, created_by: str) -> tuple[TokenCreated, str]:
        """Make a token that ends after so many days, or not by itself. What is returned second is the token, kept nowhere.

        It holds here when this returns, and within a second everywhere.

        Raises:
            TooManyTokens: as many hold as may.
            BusError: it was not made; or, where BusUnavailable says so, perhaps one was that nobody knows.
        """

    async def all(self) -> Sequence[TokenCreated]:
        """Every token that holds, the oldest first."""

    async def revoke(self, token_id: str, *, revoked_by: str) -> bool:
        """End a token, for good: here when this returns, and within a second everywhere. False where there is none.

        Raises:
            BusError: it was not revoked; or, where BusUnavailable says so, perhaps it was. Doing it again does no harm.
        """
