"""Gaps that were found in streams, said aloud for a day: nothing can be done about one but to know of it."""

import time
from collections.abc import Callable

import structlog

from bus.errors import StreamGap
from schemas.times import utc_now

_log = structlog.get_logger()

#: Seconds for which a gap is told: whoever looks once a day sees each.
TOLD_SECONDS = 24 * 3600.0


class Gaps:
    """The newest gap of each stream."""

    def __init__(self, *, told_seconds: float = TOLD_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._told_seconds = told_seconds
        self._clock = clock
        #: By what the stream is called: when to stop telling of it, and what to tell.
        self._found: dict[str, tuple[float, str]] = {}

    @property
    def problem(self) -> str | None:
        """What is missing, for people; ``None`` where nothing was found to be missing lately."""
        now = self._clock()
        return "; ".join(text for until, text in self._found.values() if now < until) or None

    def found(self, stream: str, gap: StreamGap, consequence: str) -> None:
        """A gap was found in the stream of this name; ``consequence`` is what that means for users, as a sentence."""
        when = utc_now().isoformat(timespec="seconds")
        if gap.replaced:
            what = f"{when}: the {stream} is another one than before, or has lost its end; it is read from its beginning"
        else:
            what = f"{when}: records of the {stream} were removed before they were read"
        self._found[stream] = (self._clock() + self._told_seconds, f"{what}. {consequence}")
        _log.error(
            "a stream has a gap",
            action="stream_gap",
            stream=stream,
            replaced=gap.replaced,
            expected=gap.expected,
            seen=gap.seen,
        )
