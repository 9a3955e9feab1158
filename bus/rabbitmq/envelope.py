"""Between the bus's messages and AMQP's."""

from datetime import UTC, datetime
from typing import Any

import aio_pika
from aiormq.abc import DeliveredMessage

from bus.messages import Message

#: Header that the broker adds to a stream's record: its place.
OFFSET_HEADER = "x-stream-offset"


def to_amqp(message: Message, headers: dict[str, Any] | None = None) -> aio_pika.Message:
    """A persistent AMQP message. Its time keeps whole seconds."""
    return aio_pika.Message(
        message.body,
        headers=headers,
        content_type=message.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=message.id,
        timestamp=message.timestamp,
        reply_to=message.reply_to,
        correlation_id=message.correlation_id,
    )


def from_amqp(delivered: DeliveredMessage) -> Message:
    """What a consumer received. Foreign publishers leave out what they like."""
    properties = delivered.header.properties
    return Message(
        id=properties.message_id or None,
        body=delivered.body,
        content_type=properties.content_type or "application/json",
        timestamp=properties.timestamp.astimezone(UTC) if isinstance(properties.timestamp, datetime) else None,
        reply_to=properties.reply_to or None,
        correlation_id=properties.correlation_id or None,
    )


def offset_of(delivered: DeliveredMessage) -> int | None:
    """The place of a stream's record; ``None`` where its headers can't be read."""
    offset = (delivered.header.properties.headers or {}).get(OFFSET_HEADER)
    return offset if isinstance(offset, int) else None
