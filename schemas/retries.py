"""Whether what has failed is tried again, and when: the ``retry`` of config.yaml. Pure."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from schemas.quantities import Seconds
from schemas.reasons import Reason
from schemas.status import Status

#: Attempts beyond the first that a program may ask for.
MOST_RETRIES = 20


class RetryOn(StrEnum):
    """What another attempt may follow."""

    #: It failed, for a reason that the next attempt may not meet.
    FAILED = "failed"
    #: It was stopped at its time limit.
    TIMEOUT = "timeout"
    #: Its runner, its Docker, or the host went away under it.
    RUNNER_LOST = "runner_lost"


#: What the machine around the program did, and not the program.
_LOST = frozenset({Reason.RUNNER_LOST, Reason.RUNNER_RESTARTED, Reason.DOCKER_RESTARTED})

#: Decided by the request, by config.yaml or by the program's folder: another attempt would find the same. All else may be
#: different the next time, or on another runner.
FINAL_REASONS = frozenset(
    {
        Reason.UNKNOWN_PROGRAM,
        Reason.DISABLED,
        Reason.IMAGE_NOT_FOUND,
        Reason.IMAGE_INVALID,
        Reason.MAIN_FILE_NOT_FOUND,
        Reason.INVALID_PATH,
        Reason.INVALID_PARAMETERS,
        Reason.COMPOSE_FILE_NOT_FOUND,
        Reason.COMPOSE_REFUSED,
        Reason.CONCURRENCY_LIMIT,
        Reason.CANCELLED,
    }
)


def _listed(value: object) -> object:
    # One word alone is a list of one.
    return [value] if isinstance(value, str) else value


class Retry(BaseModel):
    """How often, and after what, an execution is tried again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Attempts beyond the first; 0 for none.
    max: Annotated[int, Field(ge=0, le=MOST_RETRIES)]
    #: Seconds before the second attempt; before each further one twice as many …
    backoff: Seconds = 1.0
    #: … and never more than these.
    max_backoff: Seconds = 300.0
    on: Annotated[frozenset[RetryOn], BeforeValidator(_listed), Field(min_length=1)] = frozenset(RetryOn)

    @property
    def as_written(self) -> str:
        """The policy in the form in which config.yaml takes it, on one line."""
        if self == Retry(max=self.max):
            return str(self.max)
        causes = ", ".join(cause for cause in RetryOn if cause in self.on)
        return f"{{max: {self.max}, backoff: {self.backoff:g}, max_backoff: {self.max_backoff:g}, on: [{causes}]}}"

    def follows(self, attempt: int, status: Status, reason: Reason | None) -> bool:
        """Whether another attempt follows the one of this number that ended so."""
        cause = _cause(status, reason)
        return attempt <= self.max and cause is not None and cause in self.on

    def pause_seconds(self, attempt: int, draw: float) -> float:
        """Seconds from the end of the attempt of this number to the next one.

        ``draw``, from 0 to 1, spreads what failed together over the second half of the pause.
        """
        whole = min(self.max_backoff, self.backoff * 2.0 ** (attempt - 1))
        return float(whole * (1 + draw) / 2)


def _cause(status: Status, reason: Reason | None) -> RetryOn | None:
    if status is Status.TIMEOUT:
        return RetryOn.TIMEOUT
    if status is not Status.FAILED or reason in FINAL_REASONS:
        return None
    return RetryOn.RUNNER_LOST if reason in _LOST else RetryOn.FAILED


#: What programs get that ask for nothing.
NEVER = Retry(max=0)


def _short_form(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"max": value}
    # From a variable, whose value is always text.
    if isinstance(value, str):
        return {"max": value.strip()}
    return value


#: The table, or a number of attempts beyond the first alone: ``retry: 3``.
RetryPolicy = Annotated[Retry, BeforeValidator(_short_form)]
