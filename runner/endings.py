"""What the end of a program means. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum

from runner.engine import Exit
from runner.errors import CannotRun
from runner.steps import Step
from schemas.reasons import Reason
from schemas.status import Status

_KILLED = 137
_CANNOT_EXECUTE = frozenset({126, 127})
# What starts the program inside the container is the init process, or the shell that runs actions around it: so a missing
# interpreter shows as their words and exit code. Shells differ in where they put the line number.
_NOT_STARTED = re.compile(
    rb"\[FATAL tini \(\d+\)\] (?P<init>exec .+ failed: .+)\n|sh: .*(?P<shell>exec: (?:line \d+: )?.+: not found)\n"
)


#: What ``act_after`` is told where the program did not end by itself; the words of ``timeout`` and of the shell.
_EXIT_TIMEOUT = 124
_EXIT_TERMINATED = 143


class Interruption(StrEnum):
    """Why the runner stopped a program."""

    TIME_LIMIT = "time_limit"
    #: Somebody asked for it.
    CANCELLED = "cancelled"
    #: And nobody could have taken the program up.
    RUNNER_STOPPED = "runner_stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an execution ended."""

    status: Status
    exit_code: int | None = None
    oom_killed: bool = False
    reason: Reason | None = None
    #: For people.
    message: str | None = None


def never_ran(error: CannotRun) -> Ending:
    """The ending of what could not be run."""
    return Ending(status=Status.FAILED, reason=error.reason, message=error.message)


def interrupted_by_restart() -> Ending:
    """The ending of a program that ran when its runner went away."""
    return Ending(
        status=Status.FAILED,
        reason=Reason.RUNNER_RESTARTED,
        message="The runner was restarted while the program ran, so the program was stopped.",
    )


def cancelled(message: str | None, exit_: Exit | None = None) -> Ending:
    """The ending of what somebody asked to end; ``exit_`` is the program's, where it was started and its container is there."""
    return Ending(
        status=Status.CANCELLED,
        exit_code=None if exit_ is None else exit_.code,
        oom_killed=exit_ is not None and exit_.oom_killed,
        reason=Reason.CANCELLED,
        message=message or "Cancelled",
    )


def not_let_run(
    exit_: Exit | None, *, interruption: Interruption | None, limit_seconds: float, cancellation: str | None = None
) -> Ending | None:
    """The ending of an execution whose ``act_before`` ended like this; ``None`` where the program may run.

    ``cancellation`` says who cancelled it and why, where somebody did.
    """
    if interruption is None and exit_ is not None and exit_.code == 0:
        return None
    if interruption is Interruption.CANCELLED:
        return cancelled(cancellation)
    if exit_ is not None and exit_.engine_restarted:
        return _failed(
            exit_, Reason.DOCKER_RESTARTED, f"Docker was restarted during {Step.BEFORE.value}, so the program was not run."
        )
    if interruption is Interruption.TIME_LIMIT:
        what = f"did not end within {limit_seconds:g} s (action_timeout_seconds)"
    elif exit_ is None:
        what = "lost its container"
    elif exit_.oom_killed and exit_.code == _KILLED:
        what = "ran out of memory"
    else:
        what = f"exited with code {exit_.code}"
    return Ending(
        status=Status.FAILED,
        reason=Reason.ACTION_FAILED,
        message=f"{Step.BEFORE.value} {what}, so the program was not run.",
    )


def exit_code_for_action(ending: Ending) -> int | None:
    """The EXIT_CODE that ``act_after`` is told; ``None`` where there is nothing left that it could run in."""
    if ending.status is Status.TIMEOUT:
        return _EXIT_TIMEOUT
    if ending.status is Status.CANCELLED and ending.exit_code is not None:
        return _EXIT_TERMINATED
    return ending.exit_code


def ran(
    exit_: Exit | None,
    *,
    interruption: Interruption | None,
    memory_bytes: int,
    stderr: bytes | None,
    cancellation: str | None = None,
) -> Ending:
    """The ending of a program that was started.

    ``exit_`` is ``None`` where its container vanished; ``stderr`` is what it wrote there, where that is short;
    ``cancellation`` says who cancelled it and why, where somebody did.
    """
    if interruption is Interruption.CANCELLED:
        return cancelled(cancellation, exit_)
    if exit_ is None:
        return Ending(
            status=Status.FAILED,
            reason=Reason.INTERNAL,
            message="The container was removed by somebody else while the program ran.",
        )
    if exit_.engine_restarted:
        # Before all else that its exit code could mean, 0 too: it may have minded the signal, or the code is made up.
        return _failed(
            exit_, Reason.DOCKER_RESTARTED, "Docker was restarted while the program ran, and ended it or lost how it ended."
        )
    if interruption is Interruption.TIME_LIMIT:
        return Ending(
            status=Status.TIMEOUT,
            exit_code=exit_.code,
            oom_killed=exit_.oom_killed,
            reason=Reason.TIMEOUT,
            message="Execution exceeded time limit",
        )
    if interruption is Interruption.RUNNER_STOPPED:
        return _failed(
            exit_, Reason.RUNNER_RESTARTED, "The runner was stopped while the program ran, so the program was stopped."
        )
    if exit_.code == 0:
        # Perhaps a child was killed for want of memory; the program coped.
        return Ending(status=Status.COMPLETED, exit_code=0, oom_killed=exit_.oom_killed)
    if exit_.failure is not None:
        return _failed(exit_, Reason.START_FAILED, exit_.failure)
    if exit_.code == _KILLED and exit_.oom_killed:
        who = f"Service '{exit_.service}'" if exit_.service else "The program"
        limit = size(exit_.memory_bytes or memory_bytes)
        return _failed(exit_, Reason.OUT_OF_MEMORY, f"{who} ran out of memory: its limit is {limit} (memory_limit)")
    if exit_.code in _CANNOT_EXECUTE and (match := _NOT_STARTED.fullmatch(stderr or b"")):
        why = (match["init"] or match["shell"]).decode("utf-8", "replace")
        return _failed(exit_, Reason.START_FAILED, f"The program could not be started: {why}. Is it in the image?")
    who = f"Service '{exit_.service}'" if exit_.service else "Program"
    return _failed(exit_, Reason.EXIT_CODE, f"{who} exited with code {exit_.code}")


def _failed(exit_: Exit, reason: Reason, message: str) -> Ending:
    return Ending(status=Status.FAILED, exit_code=exit_.code, oom_killed=exit_.oom_killed, reason=reason, message=message)


def size(count: int) -> str:
    """A number of bytes as config.yaml writes it: ``512m``, ``1g``."""
    for unit in ("t", "g", "m", "k"):
        factor = 1024 ** (" kmgt".index(unit))
        if count >= factor and count % factor == 0:
            return f"{count // factor}{unit}"
    return str(count)
