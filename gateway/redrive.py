"""What it is to run a dead letter again. Pure."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from bus.messages import DeadLetter, Message
from gateway import dead_letter_problems as problems
from gateway.bodies import ExecuteBody
from gateway.errors import Refused
from schemas.commands import parse_execute
from schemas.errors import MalformedCommand
from schemas.ids import execution_id_of

_IDS = UUID("b7a1c2de-52b6-5f0e-9a53-6d0f5a9f3c11")


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrive:
    """A new execution of what a dead letter asked for."""

    #: Made of the letter and of what is asked for: however often that is repeated, by whomever, it is one execution.
    execution_id: str
    #: The execution that the letter was, or the letter's own id where it was none.
    redrive_of: str
    program_id: str
    parameters: dict[str, Any]
    #: The pool that the letter came to; ``None`` where that is not known.
    pool: str | None
    #: Who asked first still waits for the answer.
    reply_to: str | None
    correlation_id: str | None


def redrive(letter: DeadLetter, message: Message, body: ExecuteBody | None) -> Redrive:
    """The execution that a dead letter becomes; ``body`` asks for something else than it did.

    Raises:
        Refused: it would be a dead letter again.
    """
    if body is None:
        try:
            # Under an id that is surely good: its own, or the want of one, may be all that was wrong.
            _, asked = parse_execute(letter.id, message.body)
        except MalformedCommand as error:
            raise Refused(problems.not_redrivable(str(error))) from error
        program_id, parameters = asked.program_id, asked.parameters
    else:
        program_id, parameters = body.program_id, body.parameters
    wanted = json.dumps([program_id, parameters], sort_keys=True).encode()
    pool = letter.key.removeprefix("execute.")
    return Redrive(
        execution_id=str(uuid5(_IDS, f"{letter.id}:{hashlib.sha256(wanted).hexdigest()}")),
        redrive_of=execution_id_of(letter.message_id) if letter.message_id else letter.id,
        program_id=program_id,
        parameters=parameters,
        pool=pool if pool != letter.key else None,
        reply_to=message.reply_to,
        correlation_id=message.correlation_id,
    )
