"""The records of the control stream. What one is, its exchange and key say; a body never does."""

from dataclasses import dataclass

from aiormq.abc import DeliveredMessage
from pydantic import TypeAdapter, ValidationError

from bus import topology
from bus.messages import CANCELLED, Claim, End, Message, Proposal
from schemas.ids import execution_id_of

#: More attempts than anybody makes, and a number that every database holds.
_MOST_ATTEMPTS = 1_000_000


#: Longest words that are kept of a cancel, in characters.
_MOST_WHO = 256
_MOST_WHY = 500
#: Longest message id that AMQP carries.
_MOST_ID = 255


@dataclass(frozen=True, slots=True)
class _Cancel:
    """What anybody may ask for. The id may also be the text that the command had as its message id."""

    execution_id: str
    #: Why, for people.
    reason: str | None = None
    requested_by: str | None = None


_CLAIM = TypeAdapter(Claim)
_END = TypeAdapter(End)
_CANCEL = TypeAdapter(_Cancel)


class MalformedRecord(ValueError):
    """A record of the control stream can't be understood."""


def route_of(proposal: Proposal) -> tuple[str, str]:
    """Exchange and key to publish a proposal with."""
    if isinstance(proposal, Claim):
        return topology.REPORTS, topology.CLAIM_KEY
    if proposal.reason == CANCELLED:
        return topology.COMMANDS, topology.CANCEL_KEY
    return topology.REPORTS, topology.END_KEY


def to_message(proposal: Proposal) -> Message:
    """The record of a proposal. The same proposal has the same message id."""
    if isinstance(proposal, Claim):
        return Message(id=f"{proposal.execution_id}:{proposal.attempt}:{proposal.nonce}", body=_CLAIM.dump_json(proposal))
    body = _END.dump_json(proposal)
    if proposal.reason == CANCELLED:
        body = _CANCEL.dump_json(_Cancel(proposal.execution_id, proposal.why, proposal.requested_by))
    return Message(id=f"{proposal.execution_id}:{proposal.reason}", body=body)


def parse(record: DeliveredMessage) -> Proposal | None:
    """The proposal in a record; ``None`` for kinds of records that propose nothing.

    Raises:
        MalformedRecord: it should be a proposal and is none.
    """
    try:
        match (record.exchange, record.routing_key):
            case (topology.REPORTS, topology.CLAIM_KEY):
                claim = _CLAIM.validate_json(record.body, strict=True)
                if not 1 <= claim.attempt <= _MOST_ATTEMPTS:
                    raise MalformedRecord(f"there is no attempt {claim.attempt}")
                return claim
            case (topology.REPORTS, topology.END_KEY):
                return _END.validate_json(record.body, strict=True)
            case (topology.COMMANDS, topology.CANCEL_KEY):
                return _end(_CANCEL.validate_json(record.body, strict=True))
        return None
    except ValidationError as error:
        raise MalformedRecord(f"{error.error_count()} mistakes in the body") from error


def _end(asked: _Cancel) -> End:
    if not 1 <= len(asked.execution_id) <= _MOST_ID:
        raise MalformedRecord("no execution has such an id")
    return End(
        execution_id=execution_id_of(asked.execution_id),
        reason=CANCELLED,
        requested_by=asked.requested_by and asked.requested_by[:_MOST_WHO],
        why=asked.reason and asked.reason[:_MOST_WHY],
    )
