"""Between messages and the columns that hold them."""

from datetime import datetime

from bus.messages import Message

COLUMNS = "message_id, body, content_type, timestamp, reply_to, correlation_id"
PLACES = "?, ?, ?, ?, ?, ?"

Row = tuple[str | None, bytes, str, str | None, str | None, str | None]


def to_row(message: Message) -> Row:
    """Values for :data:`COLUMNS`."""
    # Whole seconds, as RabbitMQ keeps them.
    timestamp = None if message.timestamp is None else message.timestamp.replace(microsecond=0).isoformat()
    return message.id, message.body, message.content_type, timestamp, message.reply_to, message.correlation_id


def from_row(row: Row) -> Message:
    """The message in values of :data:`COLUMNS`."""
    message_id, body, content_type, timestamp, reply_to, correlation_id = row
    return Message(
        id=message_id,
        body=body,
        content_type=content_type,
        timestamp=None if timestamp is None else datetime.fromisoformat(timestamp),
        reply_to=reply_to,
        correlation_id=correlation_id,
    )
