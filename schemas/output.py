"""What a program wrote to stdout and stderr: bytes, carried in JSON without losing one."""

import base64
import binascii
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

#: Output up to this many bytes (both streams together) travels inside the terminal event.
INLINE_OUTPUT_BYTES = 64 * 1024
#: Longest chunk, in bytes.
MAX_CHUNK_BYTES = 64 * 1024


class StreamName(StrEnum):
    """The two streams of a program."""

    STDOUT = "stdout"
    STDERR = "stderr"


Encoding = Literal["utf-8", "base64"]


def encode_content(content: bytes) -> tuple[Encoding, str]:
    """Text for JSON: the bytes as UTF-8 where they are UTF-8, else as base64."""
    try:
        return "utf-8", content.decode("utf-8")
    except UnicodeDecodeError:
        return "base64", base64.b64encode(content).decode("ascii")


def decode_content(encoding: Encoding, content: str) -> bytes:
    """The bytes that :func:`encode_content` was given.

    Raises:
        ValueError: the text is not what the encoding says.
    """
    if encoding == "utf-8":
        return content.encode("utf-8")
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise ValueError("content is not base64") from error


class StreamSummary(BaseModel):
    """What became of one stream of one execution."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: Bytes the program wrote.
    total_bytes: int = Field(default=0, ge=0)
    #: Bytes that were kept, at most the configured cap.
    kept_bytes: int = Field(default=0, ge=0)
    #: Chunks that were published before this summary, numbered from 0.
    chunks: int = Field(default=0, ge=0)
    #: Whether something was cut out of the middle.
    truncated: bool = False
    encoding: Encoding | None = None
    #: All that was kept, where it is short enough to travel here; ``None`` where it must be put together from the chunks.
    content: str | None = None

    @classmethod
    def inline(cls, content: bytes, *, total: int | None = None, chunks: int = 0) -> Self:
        """A summary that carries its content. ``total`` is what the program wrote, where that is more."""
        encoding, text = encode_content(content)
        total = len(content) if total is None else total
        return cls(
            total_bytes=total,
            kept_bytes=len(content),
            chunks=chunks,
            truncated=total > len(content),
            encoding=encoding,
            content=text,
        )

    def content_bytes(self) -> bytes | None:
        """The content, or ``None`` where it is in the chunks.

        Raises:
            ValueError: the content is not what its encoding says.
        """
        return None if self.content is None else decode_content(self.encoding or "utf-8", self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Both streams of one execution, and the lines around them, as the view has them."""

    stdout: bytes = b""
    stderr: bytes = b""
    #: Lines of the hub, of pip and of the actions, before the program ran and after it had ended; not in lists.
    before: bytes = b""
    after: bytes = b""
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    #: Whether everything that was kept is here; false while the program runs, or when a chunk has not arrived yet.
    complete: bool = False
