"""The command of an execution that waits, once more. Pure."""

from bus.messages import Message
from schemas.commands import ExecuteProgram, digest_of
from schemas.executions import Execution


def same_command(execution: Execution) -> Message | None:
    """The first command of an execution as it was asked for; ``None`` where that is not known any more.

    Publishing it again is harmless: it has the same id and says the same, so of all its copies one is claimed.
    """
    if execution.parameters is None:
        return None
    command = ExecuteProgram(
        program_id=execution.program_id,
        parameters=execution.parameters,
        submitted_by=execution.submitted_by,
        accepted_at=execution.accepted_at,
    )
    if digest_of(command) != execution.digest:
        return None
    return Message(
        id=execution.execution_id,
        body=command.to_bytes(),
        timestamp=execution.accepted_at,
        reply_to=execution.reply_to,
        correlation_id=execution.correlation_id,
    )
