"""Whether a restart of Docker's daemon ended a program, as far as that can be known. Pure.

What Docker keeps of a container says nothing about it: one that ended because its daemon was stopped looks like one that took
SIGTERM (143 or 137), or, where its program minds the signal, like one that completed (0). What is known for sure:

- A daemon that is being stopped takes no new connection any more before it stops its first container, on old connections it
  answers as ever. So what ended before a new connection was taken was not ended by a stop of the daemon.
- Without live-restore no container outlives its daemon: the next one kills what still runs when it starts.
- With it they all do, unless the whole machine went away.
- A daemon makes up the end of a container that it finds gone when it starts: the machine went away, or the daemon before was
  killed after it had fetched the program's end from containerd, and before it had written that down. With live-restore such a
  container looks like one whose program exited with 255 (before Docker 24.0.3 with 0 at times) while the daemon was starting.
  But no daemon has told of its death, as one does that lives through it, and remembers until its own.
- While nobody listens on the socket, no daemon makes up anything: it listens before it looks for its containers.
"""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

#: Lives that are remembered: a daemon is not restarted more often while a program runs.
_MOST_LIVES = 16
#: What a daemon says of a container that is gone without a trace.
GONE = 255
#: How a program ends that a daemon has ended and that does not mind signals.
_BY_SIGNAL = frozenset({137, 143, GONE})
#: How long before a new daemon is up it may have ended containers, or found them ended; and the most that one takes to stop
#: and come back in one go. Where nobody watched, what ended in that time may have been ended by it.
_AROUND_A_RESTART = timedelta(seconds=60)
#: A daemon that starts, makes up ends and is gone again takes longer than this, the pause before it included.
_SHORTEST_LIFE = timedelta(seconds=1)
#: Its clock is told in whole seconds.
_A_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class DaemonLife:
    """One life of the daemon, by its own clock."""

    #: When it came up, later than everything that it did to the containers of the life before; or, where containers of that
    #: life run on, when an earlier one did.
    started_at: datetime
    #: Whether containers outlive it (live-restore).
    keeps_containers: bool
    #: When it last took a new connection, as far as that is known.
    seen_at: datetime
    #: Exit codes that it gives to containers whose end it makes up.
    made_up_codes: frozenset[int] = frozenset({GONE})


@dataclass(frozen=True, slots=True)
class ContainerLife:
    """The last run of a container that has ended, by the daemon's clock."""

    started_at: datetime
    finished_at: datetime
    code: int
    #: Whether the daemon that is there now has lived through its end; ``None`` where that is not known.
    was_witnessed: bool | None = None


@dataclass(frozen=True, slots=True)
class _Absence:
    """A time in which no daemon was starting.

    By the clock of this process, which is the daemon's too: both are on one machine.
    """

    #: When it was last seen, or missed for the first time.
    since: datetime
    #: When it was missed for the last time.
    until: datetime


class DaemonLives:
    """The lives of the daemon that were seen, the last one last."""

    def __init__(self) -> None:
        self._lives: deque[DaemonLife] = deque(maxlen=_MOST_LIVES)
        self._absences: deque[_Absence] = deque(maxlen=_MOST_LIVES)
        #: When it was last seen or missed.
        self._looked_at = datetime.min.replace(tzinfo=UTC)

    def see(self, seen: DaemonLife, at: datetime) -> None:
        """It took a new connection, before this time."""
        if self._lives and self._lives[-1].started_at == seen.started_at:
            self._lives[-1] = seen
        else:
            self._lives.append(seen)
        self._looked_at = max(self._looked_at, at)

    def miss(self, at: datetime) -> None:
        """Nobody listened on its socket, after this time."""
        # Looks that are far apart may have a whole life between them.
        since = self._looked_at if at - _SHORTEST_LIFE < self._looked_at < at else at
        if self._absences and self._absences[-1].until >= since:
            last = self._absences.pop()
            self._absences.append(_Absence(last.since, max(last.until, at)))
        else:
            self._absences.append(_Absence(since, at))
        self._looked_at = max(self._looked_at, at)

    def may_have_made_up(self, container: ContainerLife) -> bool:
        """Whether its end looks like one that a daemon with live-restore has made up, so that a witness is wanted."""
        if not self._lives:
            return False
        last = self._lives[-1]
        return last.keeps_containers and container.code in last.made_up_codes

    def may_have_ended(self, container: ContainerLife) -> bool:
        """Whether a restart may have ended it, or lost how it ended.

        To be asked once the daemon was seen after that end was known.
        Where this can't be told, it may: nobody is told that a program completed, or failed, which did not get the chance to.
        """
        if not self._lives:
            return False
        last = self._lives[-1]
        seen = [life for life in self._lives if life is not last and life.seen_at + _A_SECOND > container.started_at]
        keeps_containers = last.keeps_containers and all(life.keeps_containers for life in seen)
        if keeps_containers and container.was_witnessed is False:
            return not self._was_away_at(container.finished_at)
        if any(life.started_at < container.started_at and container.finished_at <= life.seen_at for life in seen):
            return False
        if container.was_witnessed is False:
            return True
        if container.started_at > last.started_at:
            return False
        is_close = container.finished_at > last.started_at - _AROUND_A_RESTART
        if keeps_containers:
            return is_close and container.was_witnessed is None and container.code in last.made_up_codes
        # Without one who watched: what is unlikely to be the daemon's doing is believed.
        return bool(seen) or is_close or container.code in _BY_SIGNAL

    def _was_away_at(self, time: datetime) -> bool:
        """Whether no daemon was just starting at this time, for certain."""
        return any(absence.since <= time <= absence.until for absence in self._absences)
