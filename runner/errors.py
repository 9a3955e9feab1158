"""The errors of the runner. A program that exits 1 is a result and none of these."""

from schemas.reasons import Reason


class RunnerError(Exception):
    """The runner can't do what it was asked to do."""


class CannotRun(RunnerError):
    """The program can't be run; ``reason`` is for programs to switch on, ``message`` for people to read."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Interrupted(RunnerError):
    """Something else happened first, so the work was given up."""


class Cancelled(RunnerError):
    """Somebody asked for the execution's end before its program was started."""


class Detached(RunnerError):
    """The runner stops and lets go of a program, which runs on."""


class EngineError(RunnerError):
    """The engine failed in a way that says nothing about the program."""


class EngineUnavailable(EngineError):
    """The engine does not answer: what was asked of it may have happened or not."""

    reason = Reason.DOCKER_UNAVAILABLE


class EngineForbidden(EngineUnavailable):
    """The engine is there, and this process may not use it."""

    reason = Reason.PERMISSION_DENIED


class AlreadyStarted(EngineError):
    """A container of this very attempt was started before: starting it again would run the program twice."""


class ContainerGone(EngineError):
    """The container is not there (any more)."""


class NeverStarted(EngineError):
    """What an earlier process was about to start has not begun, and never will: nothing of it is left."""


class NotAdoptable(EngineError):
    """What an earlier process started can't be taken up."""


class OutOfOrder(EngineError):
    """The engine's contract was broken by its caller."""


class JournalError(RunnerError):
    """The journal can't be used."""


class JournalLocked(JournalError):
    """Another runner uses this journal."""


class JournalClosed(JournalError):
    """The journal was closed while it was in use."""


class Displaced(RunnerError):
    """Another process works with a copy of this runner's journal: it goes on, and this one must not."""


class RunnerIdTaken(RunnerError):
    """Another runner lives under the same id."""


class BadIdentity(RunnerError):
    """The name of an instance or of a runner can't be used."""
