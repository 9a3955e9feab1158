"""The records of the control stream. What one is, its exchange and key say; a body never does."""

from dataclasses import dataclass

from aiormq.abc import DeliveredMessage
from pydantic import TypeAdapter, ValidationError

from bus import topology
from bus.messages import CANCELLED, Claim, End, Fence, Hello, Message, Proposal
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """It says nothing. Who writes one and reads it back has read all that was there before."""

    #: Random.
    nonce: str


#: What stands in the control stream.
ControlRecord = Proposal | Fence | Hello | Mark

_CLAIM = TypeAdapter(Claim)
_FENCE = TypeAdapter(Fence)
_HELLO = TypeAdapter(Hello)
_MARK = TypeAdapter(Mark)
_END = TypeAdapter(End)
_CANCEL = TypeAdapter(_Cancel)


class MalformedRecord(ValueError):
    """A record of the control stream can't be understood."""


def route_of(record: ControlRecord) -> tuple[str, str]:
    """Exchange and key to publish a record with."""
    match record:
        case Claim():
            return topology.REPORTS, topology.CLAIM_KEY
        case End(reason=reason) if reason == CANCELLED:
            return topology.COMMANDS, topology.CANCEL_KEY
        case End():
            return topology.REPORTS, topology.END_KEY
        case Fence():
            return topology.REPORTS, topology.FENCE_KEY
        case Hello():
            return topology.REPORTS, topology.HELLO_KEY
        case Mark():
            return topology.REPORTS, topology.MARK_KEY


def to_message(record: ControlRecord) -> Message:
    """A record as it is published. The same one has the same message id."""
    match record:
        case Claim():
            return Message(id=f"{record.execution_id}:{record.attempt}:{record.nonce}", body=_CLAIM.dump_json(record))
        case Fence():
            return Message(id=name_of(record), body=_FENCE.dump_json(record))
        case Hello():
            return Message(id=name_of(record), body=_HELLO.dump_json(record))
        case Mark():
            return Message(id=name_of(record), body=_MARK.dump_json(record))
    body = _END.dump_json(record)
    if record.reason == CANCELLED:
        body = _CANCEL.dump_json(_Cancel(record.execution_id, record.why, record.requested_by))
    return Message(id=f"{record.execution_id}:{record.reason}", body=body)


def name_of(record: ControlRecord) -> str:
    """What who waits for news of it waits for: all that is proposed for one execution has one name."""
    match record:
        case Fence(epoch=epoch):
            return f"fence:{epoch}"
        case Hello(epoch=epoch, process=process):
            return f"hello:{epoch}:{process}"
        case Mark(nonce=nonce):
            return f"mark:{nonce}"
    return record.execution_id


def parse(record: DeliveredMessage) -> ControlRecord | None:
    """What a record says; ``None`` for kinds of records that are not known.

    Raises:
        MalformedRecord: it should say something and does not.
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
            case (topology.REPORTS, topology.FENCE_KEY):
                return _FENCE.validate_json(record.body, strict=True)
            case (topology.REPORTS, topology.HELLO_KEY):
                return _HELLO.validate_json(record.body, strict=True)
            case (topology.REPORTS, topology.MARK_KEY):
                return _MARK.validate_json(record.body, strict=True)
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
