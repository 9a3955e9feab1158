"""The sweeper: what this runner has made on the engine, and nobody owns any more, is removed.

An attempt's claim is in the journal before anything is made for it, and is forgotten after everything was removed. So whatever
carries this runner's labels and has no claim was left behind: by a life that was killed, or by an engine that carried out an
order late. What is another runner's, or another hub's, is never looked at.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from bus.errors import BusUnavailable
from runner import labels
from runner.belongings import Belonging, Kind
from runner.errors import EngineUnavailable
from schemas.failpoints import failpoint

log = structlog.get_logger()

#: Seconds between two rounds: what is left behind shall be gone within a minute.
EVERY_SECONDS = 30.0

#: The names of the attempts that are claimed, as their containers are named.
Claims = Callable[[], Awaitable[frozenset[str]]]
#: Whether labels are those of another journal, under this runner's id, which may come back.
IsAnothers = Callable[[Mapping[str, str]], Awaitable[bool]]


class Belongings(Protocol):
    """The part of an engine that is swept. See :class:`runner.engine.Engine`."""

    async def belongings(self) -> list[Belonging]:
        """All that this runner has made."""

    async def remove(self, belonging: Belonging) -> None:
        """Remove one of them."""


@dataclass(frozen=True, slots=True)
class Stray:
    """Something that nobody owns."""

    belonging: Belonging
    #: For people.
    why: str


async def find_strays(engine: Belongings, claims: Claims, is_anothers: IsAnothers) -> list[Stray]:
    """What nobody owns, in the order to remove it.

    Raises:
        EngineUnavailable: not known.
    """
    # In this order: what is there has had its claim before, so one that is not found afterwards is gone and not still to come.
    belongings = await engine.belongings()
    claimed = await claims()
    unclaimed = [each for each in belongings if not each.is_in_use and each.owner not in claimed]
    strays = [Stray(each, _why(each)) for each in unclaimed if not await is_anothers(each.labels)]
    return sorted(strays, key=lambda stray: (list(Kind).index(stray.belonging.kind), stray.belonging.name))


def _why(belonging: Belonging) -> str:
    if belonging.owner is not None:
        return "no claim of this runner owns it: its execution has ended, or is another's"
    if belonging.kind is Kind.IMAGE:
        return "an image that no name leads to any more"
    if labels.NETWORK_SANDBOX in belonging.labels:
        return "a network sandbox that no program is in, unless a runner keeps it for the next one right now"
    if labels.WARM in belonging.labels:
        return "a container kept warm by a life of the runner that is over, unless it is at work right now"
    return "left of an installation of requirements, unless that is going on right now"


class Sweeper:
    """Sweeps at its start and from time to time."""

    def __init__(
        self,
        engine: Belongings,
        claims: Claims,
        *,
        is_anothers: IsAnothers,
        every_seconds: float = EVERY_SECONDS,
        dry_run: bool = False,
    ) -> None:
        """With ``dry_run`` it only says what it would remove."""
        self._is_anothers = is_anothers
        self._engine = engine
        self._claims = claims
        self._every_seconds = every_seconds
        self._dry_run = dry_run
        #: What was said already that it would be removed.
        self._told: set[str] = set()

    async def run(self) -> None:
        """Sweep, until cancelled."""
        while True:
            await self.sweep()
            await asyncio.sleep(self._every_seconds)

    async def sweep(self) -> int:
        """One round; how many were removed. What can't be removed now is tried again in the next."""
        try:
            strays = await find_strays(self._engine, self._claims, self._is_anothers)
        except (EngineUnavailable, BusUnavailable) as error:
            log.warning("not swept: the engine or the bus is away", action="sweep_delayed", error=str(error))
            return 0
        if self._dry_run:
            self._tell(strays)
            return 0
        removed: Counter[str] = Counter()
        for stray in strays:
            if await remove(self._engine, stray):
                removed[stray.belonging.kind.value] += 1
        if strays:
            log.info("swept", action="swept", found=len(strays), removed=removed.total(), **_plurals(removed))
        return removed.total()

    def _tell(self, strays: list[Stray]) -> None:
        for stray in strays:
            if stray.belonging.id not in self._told:
                log.info("would be removed", action="stray_found", **_described(stray))
        self._told = {stray.belonging.id for stray in strays}


async def remove(engine: Belongings, stray: Stray) -> bool:
    """Remove something that nobody owns; whether it is gone."""
    try:
        await engine.remove(stray.belonging)
    except EngineUnavailable as error:
        log.warning("not removed yet", action="stray_not_removed", error=str(error), **_described(stray))
        return False
    failpoint("sweeper.removed")
    log.warning("removed what nobody owns", action="stray_removed", **_described(stray))
    return True


def _described(stray: Stray) -> dict[str, str | None]:
    said = stray.belonging.labels
    return {
        "kind": stray.belonging.kind.value,
        "name": stray.belonging.name,
        "execution_id": said.get(labels.EXECUTION_ID),
        "why": stray.why,
    }


def _plurals(removed: Counter[str]) -> dict[str, int]:
    return {f"{kind}s": count for kind, count in removed.items()}
