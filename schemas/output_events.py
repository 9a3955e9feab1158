"""Pieces of output as events."""

from typing import Self

from pydantic import Field, TypeAdapter, ValidationError

from schemas.cloud_events import MAX_INT, TYPE_PREFIX, AttemptFact, CloudEvent
from schemas.errors import MalformedEvent
from schemas.output import Encoding, StreamName, decode_content, encode_content


class OutputChunk(AttemptFact):
    """A piece of output, at most 64 KiB."""

    stream: StreamName
    #: Number of this chunk within its stream, from 0 and without gaps.
    sequence: int = Field(ge=0, le=MAX_INT)
    encoding: Encoding
    content: str

    @classmethod
    def of(cls, *, execution_id: str, program_id: str, attempt: int, stream: StreamName, sequence: int, content: bytes) -> Self:
        """The chunk that carries these bytes."""
        encoding, text = encode_content(content)
        return cls(
            execution_id=execution_id,
            program_id=program_id,
            attempt=attempt,
            stream=stream,
            sequence=sequence,
            encoding=encoding,
            content=text,
        )

    def content_bytes(self) -> bytes:
        """The bytes it carries.

        Raises:
            ValueError: the content is not what its encoding says.
        """
        return decode_content(self.encoding, self.content)


class OutputEvent(CloudEvent):
    """A piece of output, as subscribers receive it."""

    data: OutputChunk

    @classmethod
    def of(cls, chunk: OutputChunk, *, source: str) -> Self:
        """The event of one chunk."""
        return cls(
            id=f"{chunk.execution_id}:{chunk.attempt}:{chunk.stream.value}:{chunk.sequence}",
            source=source,
            type=f"{TYPE_PREFIX}.output.v1",
            subject=chunk.execution_id,
            data=chunk,
        )

    @property
    def routing_key(self) -> str:
        """``output.<program_id>.<execution_id>``."""
        return f"output.{self.data.program_id}.{self.data.execution_id}"


_OUTPUT_EVENT: TypeAdapter[OutputEvent] = TypeAdapter(OutputEvent)


def parse_output(body: bytes) -> OutputEvent:
    """The chunk in one record.

    Raises:
        MalformedEvent: it is not a CloudEvent of a piece of output.
    """
    try:
        event = _OUTPUT_EVENT.validate_json(body)
        event.data.content_bytes()
    except (ValidationError, ValueError) as error:
        raise MalformedEvent(f"the record is not an output event: {type(error).__name__}") from error
    return event
