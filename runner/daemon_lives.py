"""Whether a restart of Docker's daemon ended a program, as far as that can be known. Pure.

What Docker keeps of a container says nothing about it: one that ended because its daemon was stopped looks like one that took
SIGTERM (143 or 137), or, where its program minds the signal, like one that completed (0). What is known for sure:

- A daemon that is being stopped takes no new connection any more before it stops its first container, on old connections it
  answers as ever. So what ended before a new connection was taken was not ended by a stop of the daemon.
- Without live-restore no container outlives its daemon: the next one kills what still runs when it starts.
- With it they all do, unless the whole machine went away: then the next daemon finds them gone, and says 255.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

#: Lives that are remembered: a daemon is not restarted more often while a program runs.
_MOST_LIVES = 16
#: What a daemon says of a container that is gone without a trace.
_GONE = 255
#: How a program ends that a daemon has ended and that does not mind signals.
_BY_SIGNAL = frozenset({137, 143, _GONE})
#: How long before a new daemon is up it may have ended containers, or found them ended; and the most that one takes to stop
#: and come back in one go. Where nobody watched, what ended in that time may have been ended by it.
_AROUND_A_RESTART = timedelta(seconds=60)

#: Its clock is told in whole seconds.
_A_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class DaemonLife:
    """One life of the daemon, by its own clock."""

    #: When it came up; later than everything that it did to the containers of the life before.
    started_at: datetime
    #: Whether containers outlive it (live-restore).
    keeps_containers: bool
    #: When it last took a new connection, as far as that is known.
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class ContainerLife:
    """The last run of a container that has ended, by the daemon's clock."""

    started_at: datetime
    finished_at: datetime
    code: int


class DaemonLives:
    """The lives of the daemon that were seen, the last one last."""

    def __init__(self) -> None:
        self._lives: deque[DaemonLife] = deque(maxlen=_MOST_LIVES)

    def see(self, seen: DaemonLife) -> None:
        """It took a new connection."""
        if self._lives and self._lives[-1].started_at == seen.started_at:
            self._lives[-1] = seen
        else:
            self._lives.append(seen)

    def may_have_ended(self, container: ContainerLife) -> bool:
        """Whether a restart may have ended it. To be asked once the daemon was seen after that end was known.

        Where this can't be told, it may: nobody is told that a program completed, or failed, which did not get the chance to.
        """
        if not self._lives or container.started_at > self._lives[-1].started_at:
            return False
        last = self._lives[-1]
        seen = [life for life in self._lives if life is not last and life.seen_at + _A_SECOND > container.started_at]
        if any(life.started_at < container.started_at and container.finished_at <= life.seen_at for life in seen):
            return False
        is_close = container.finished_at > last.started_at - _AROUND_A_RESTART
        if last.keeps_containers and all(life.keeps_containers for life in seen):
            return container.code == _GONE and is_close
        # Without one who watched: what is unlikely to be the daemon's doing is believed.
        return bool(seen) or is_close or container.code in _BY_SIGNAL
