"""What is kept warm: how many containers for which programs, within the limits of the pool. Pure."""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runner.run_spec import RunSpec

#: Seconds for which a program counts as used lately.
LATELY_SECONDS = 600.0
#: What a program uses within so many seconds is there at once …
_AT_ONCE_SECONDS = 10.0
#: … but no more than so many, where nobody has asked for more.
_MOST_UNASKED = 4
#: Uses of one program that are remembered.
_MOST_USES = 256
#: Programs that are remembered.
_MOST_PROGRAMS = 1_000

#: Bytes that a container takes beside what runs in it: measured, of its shim.
SHIM_BYTES = 6 * 1024**2
#: Bytes of a container of whose kind none was seen yet.
UNKNOWN_BYTES = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The bounds of a pool."""

    #: Containers in it, those that are being made included; 0 keeps none.
    containers: int = 8
    #: Bytes of memory that they use together.
    memory_bytes: int = 512 * 1024**2


NO_POOL = PoolLimits(containers=0, memory_bytes=0)


@dataclass(frozen=True, slots=True)
class Warm:
    """Containers to be kept for executions like this one."""

    spec: RunSpec
    count: int


class Demand:
    """Which programs were used lately, by a clock in seconds that never goes back."""

    def __init__(self) -> None:
        self._uses: dict[str, deque[float]] = {}
        #: Set when something was used: whoever waits for that clears it.
        self.changed = asyncio.Event()

    def used(self, program_id: str, now: float) -> None:
        """An execution of it is about to run."""
        # Moved to the end: the program that was used longest ago stands first.
        uses = self._uses.pop(program_id, None) or deque(maxlen=_MOST_USES)
        uses.append(now)
        self._uses[program_id] = uses
        if len(self._uses) > _MOST_PROGRAMS:
            del self._uses[next(iter(self._uses))]
        self.changed.set()

    def latest_first(self, now: float) -> list[str]:
        """The programs that were used lately, the one used last first."""
        lately = [name for name, uses in self._uses.items() if uses[-1] > now - LATELY_SECONDS]
        return lately[::-1]

    def suggested(self, program_id: str, now: float) -> int:
        """How many containers its latest executions suggest: as many as were wanted at once."""
        uses = [at for at in self._uses.get(program_id, ()) if at > now - LATELY_SECONDS]
        most, first = 0, 0
        for last, at in enumerate(uses):
            while uses[first] <= at - _AT_ONCE_SECONDS:
                first += 1
            most = max(most, last - first + 1)
        # What comes one by one within those seconds is served by two: one that is used, and one that is being made.
        return min(_MOST_UNASKED, math.ceil(most / 2))


@dataclass(frozen=True, slots=True)
class Kept:
    """What a pool holds of one key."""

    ready: int = 0
    making: int = 0
    #: Bytes that one of them uses, as far as that was seen.
    bytes_each: int = UNKNOWN_BYTES


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be done to a pool."""

    #: Keys of containers to be made, the most urgent first; one entry a container.
    make: list[str] = field(default_factory=list)
    #: How many ready ones of each key are too many.
    drop: Counter[str] = field(default_factory=Counter)


def shares(wanted: Sequence[tuple[str, int]], bytes_of: Mapping[str, int], limits: PoolLimits) -> Counter[str]:
    """How many containers of each key there are to be. ``wanted`` has the more important first; each gets one before any gets
    two, and so on.
    """
    granted: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for key, count in wanted:
        asked[key] += count
    memory_left, places_left = limits.memory_bytes, limits.containers
    for place in range(1, max(asked.values(), default=0) + 1):
        for key, count in asked.items():
            size = bytes_of.get(key, UNKNOWN_BYTES)
            if count >= place and places_left > 0 and size <= memory_left:
                granted[key] += 1
                places_left -= 1
                memory_left -= size
    return granted


def changes(wanted: Sequence[tuple[str, int]], kept: Mapping[str, Kept], limits: PoolLimits) -> Changes:
    """What brings a pool to what is wanted of it."""
    targets = shares(wanted, {key: each.bytes_each for key, each in kept.items()}, limits)
    todo = Changes()
    for key, each in kept.items():
        surplus = each.ready + each.making - targets[key]
        if surplus > 0 and each.ready:
            todo.drop[key] = min(surplus, each.ready)
    missing = {key: count - kept.get(key, Kept()).ready - kept.get(key, Kept()).making for key, count in targets.items()}
    # What has least of what it should have comes first.
    for place in range(1, max(missing.values(), default=0) + 1):
        todo.make.extend(key for key, count in missing.items() if count >= place)
    return todo
