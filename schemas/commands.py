"""Commands: messages that ask. One queue, one handler, may be refused."""

import hashlib
import json
import math
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import MalformedCommand
from schemas.ids import execution_id_of
from schemas.retries import MOST_RETRIES
from schemas.times import Time

#: Longest body of a command, in bytes. A larger one is dead-lettered unread.
MAX_COMMAND_BYTES = 128 * 1024


#: A retry says more than the command did, and may be spelled longer.
_MAX_RETRY_BYTES = 2 * MAX_COMMAND_BYTES

_C = TypeVar("_C", bound="ExecuteProgram")


class ExecuteProgram(BaseModel):
    """Run a program once. It names the program; it never carries an image, a path or a command line.

    A bare ``{"program_id": "example_script"}`` with a message id is a complete command; fields that are not known are ignored.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: The program's id or YAML key, as the caller typed it.
    program_id: str = Field(min_length=1, max_length=128)
    #: Become ``PARAM_*`` variables of the program.
    parameters: dict[str, Any] = Field(default_factory=dict)
    #: Who asked, as the gateway authenticated them; ``None`` on a bare publish.
    submitted_by: str | None = Field(default=None, max_length=256)
    #: When the publisher accepted it; ``None`` on a bare publish.
    accepted_at: Time | None = None
    #: Where a dead letter was redriven: the execution that it was, or its own id where it was none.
    redrive_of: str | None = Field(default=None, max_length=64)

    def to_bytes(self) -> bytes:
        """The body to publish."""
        return self.model_dump_json(exclude_none=True).encode()


class RetryProgram(ExecuteProgram):
    """Run a further attempt of an execution. The holder alone asks for it, where nobody else may write."""

    #: Its number.
    attempt: int = Field(ge=2, le=MOST_RETRIES + 1)
    #: Of the command as its caller sent it, who may have named the program otherwise: see :func:`digest_of`.
    digest: str | None = None
    #: When it was queued.
    retried_at: Time | None = None


def digest_of(command: ExecuteProgram) -> str:
    """SHA-256 of what its caller asked for, in hexadecimal: tells two commands under one id apart.

    Program and parameters alone: the same request sent again is the same, whenever it is accepted and however it is spaced.
    Only of a command that :func:`parse_execute` returned: others may hold what has no JSON.
    """
    asked = json.dumps([command.program_id, command.parameters], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(asked.encode("ascii")).hexdigest()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


def parse_execute(message_id: str | None, body: bytes) -> tuple[str, ExecuteProgram]:
    """The execution id and the command of one message, by the one rule that runner and fold share.

    What this refuses is no execution, whoever reads it.

    Raises:
        MalformedCommand: no message id, too long, not JSON, or not the shape of an ExecuteProgram.
    """
    return _parse(message_id, body, ExecuteProgram, most_bytes=MAX_COMMAND_BYTES)


def parse_retry(message_id: str | None, body: bytes) -> tuple[str, RetryProgram]:
    """The execution id and the command of a further attempt.

    Raises:
        MalformedCommand: no message id, too long, not JSON, or not the shape of a RetryProgram.
    """
    return _parse(message_id, body, RetryProgram, most_bytes=_MAX_RETRY_BYTES)


def _parse(message_id: str | None, body: bytes, model: type[_C], *, most_bytes: int) -> tuple[str, _C]:
    if not message_id:
        raise MalformedCommand("the message has no message_id: set one (a UUID is best), it names the execution")
    if len(message_id) > 255:
        raise MalformedCommand("the message_id is longer than 255 characters")
    if len(body) > most_bytes:
        raise MalformedCommand(
            f"the body has {len(body)} bytes, and at most {most_bytes} are allowed: put what is large somewhere else, "
            "and let the parameters say where"
        )
    try:
        command = model.model_validate(json.loads(body, parse_constant=_refuse_constant, parse_float=_finite))
        # Lone surrogates pass json.loads, and names with them pass pydantic too: better refused now than in an event.
        json.dumps(command.parameters, ensure_ascii=False).encode()
        command.to_bytes()
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'body'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise MalformedCommand(f"the body is not an ExecuteProgram: {problems}") from error
    except (ValueError, RecursionError) as error:
        raise MalformedCommand(f"the body is not JSON: {type(error).__name__}") from error
    return execution_id_of(message_id), command
