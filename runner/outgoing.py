"""What a runner has to tell, on its way to the bus."""

from dataclasses import dataclass

from bus.messages import StreamName as BusStream
from schemas.events import AttemptEndedEvent, ExecutionEvent
from schemas.late_result_events import LateResultEvent
from schemas.output_events import OutputEvent
from schemas.progress_events import ProgressEvent


@dataclass(frozen=True, slots=True)
class Report:
    """An event on its way to the bus."""

    execution_id: str
    stream: BusStream
    key: str
    message_id: str
    body: bytes

    @classmethod
    def of(cls, event: ExecutionEvent | AttemptEndedEvent | LateResultEvent | OutputEvent | ProgressEvent) -> "Report":
        """The report that carries this event."""
        stream = BusStream.OUTPUT if isinstance(event, OutputEvent) else BusStream.LOG
        return cls(event.subject, stream, event.routing_key, event.id, event.to_bytes())


@dataclass(frozen=True, slots=True)
class Waiting:
    """A report in the outbox."""

    #: Its place: reports of one execution are told in this order.
    number: int
    report: Report
