"""Whether the process of a state directory is alive and of use, for whoever looks from outside: a container's health check.

    python -m hub.pulse        0 if the last beat is fresh and all was well, else 1 and what is wrong

Asked every few seconds, it must be cheap: a file and the standard library, and nothing else of the hub is imported.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

#: Seconds between two beats.
BEAT_SECONDS = 5.0
#: Seconds after which no beat means that the process is stuck, or gone.
STALE_SECONDS = 20.0
_FILE_NAME = "pulse"


class Pulse:
    """Writes down, beat by beat, what is wrong with this process."""

    def __init__(self, state_dir: Path, problems: Callable[[], Mapping[str, str]]) -> None:
        self._file = state_dir / _FILE_NAME
        self._problems = problems

    async def run(self) -> None:
        """Beat, for ever. The beats of a process that was here before count no more."""
        with contextlib.suppress(FileNotFoundError):
            self._file.unlink()
        while True:
            # A full disk stops the beats, which is how it is told; the hub itself goes on.
            with contextlib.suppress(OSError):
                self._beat()
            await asyncio.sleep(BEAT_SECONDS)

    def _beat(self) -> None:
        aside = self._file.with_suffix(".new")
        aside.write_text("".join(f"{name}: {problem}\n" for name, problem in self._problems().items()), encoding="utf-8")
        aside.replace(self._file)


def feel(state_dir: Path, *, now: float | None = None) -> str | None:
    """What is wrong with the process of this state directory; ``None`` where nothing is. ``now`` is in seconds of the epoch."""
    file = state_dir / _FILE_NAME
    try:
        age_seconds = (time.time() if now is None else now) - file.stat().st_mtime
        told = file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return "it has not started yet"
    if age_seconds > STALE_SECONDS:
        return f"the last beat was {age_seconds:.0f} s ago"
    return told or None


def main() -> int:
    """The health check."""
    problem = feel(Path(os.environ.get("HUB_STATE_DIR", ".hub")))
    sys.stdout.write(f"{problem or 'all is well'}\n")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
