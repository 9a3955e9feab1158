"""What every event is: a CloudEvent 1.0 in structured JSON, about one execution or, rarely, about none.

The same bytes travel on the bus, to subscribers and in replies. See https://github.com/cloudevents/spec (version 1.0.2).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.ids import ProgramId
from schemas.times import Time

CONTENT_TYPE = "application/cloudevents+json"
#: How the types of events about executions begin.
TYPE_PREFIX = "io.pyexecutorhub.execution"

ExecutionId = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
#: Largest number in an event: it fits every database and every language's integer.
MAX_INT = 2**31 - 1


class AttemptFact(BaseModel):
    """What every fact about an attempt says."""

    # Fields that a later version adds are ignored, so that old subscribers keep working.
    model_config = ConfigDict(frozen=True, extra="ignore")

    execution_id: ExecutionId
    #: The program's canonical id.
    program_id: ProgramId
    #: 1 for the first try.
    attempt: int = Field(default=1, ge=1, le=MAX_INT)


class CloudEvent(BaseModel):
    """The envelope."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"] = "1.0"
    id: str
    #: Who saw the fact: ``/runner/<id>`` or ``/hub``.
    source: str
    type: str
    #: The execution id.
    subject: str
    time: Time | None = None
    datacontenttype: Literal["application/json"] = "application/json"

    def to_bytes(self) -> bytes:
        """The event as it travels; what is ``None`` is left out."""
        return self.model_dump_json(exclude_none=True).encode()
