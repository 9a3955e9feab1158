"""The course of an attempt: all that must be known to go on with it when the runner that started it is gone."""

from pydantic import BaseModel, ConfigDict

from runner.boot_clock import Moment
from runner.endings import Ending, Interruption
from runner.steps import Step
from schemas.output import StreamName


class Begun(BaseModel):
    """A step whose start was ordered, or was about to be."""

    model_config = ConfigDict(frozen=True)

    step: Step
    #: The last start of the container before this one, in the engine's words: while it still is the last one, the order was
    #: not carried out.
    start_before: str
    at: Moment
    #: Why it is being stopped; ``None`` while it may run.
    interruption: Interruption | None = None
    #: Where somebody cancelled it: who and why, for people.
    cancellation: str | None = None
    #: Bytes that the steps before it wrote to each stream: its own output follows them in the engine's record.
    written_before: dict[StreamName, int]


class Course(BaseModel):
    """A snapshot of what the attempt is run by, and how far it has come. The catalogue may change meanwhile."""

    model_config = ConfigDict(frozen=True)

    program_id: str
    image: str
    container_id: str
    memory_bytes: int
    timeout_seconds: float
    stop_grace_seconds: float
    #: Bytes kept of each stream.
    output_limit: int
    #: The actions that the container can run.
    actions: frozenset[Step]
    action_timeout_seconds: float
    #: What the engine must know to take it up.
    plan: str | None = None
    #: The lines of the hub and of pip before the first step.
    said_before: str | None = None
    #: In order; the last one is where it stands.
    steps: tuple[Begun, ...] = ()
    #: How the program ended; ``None`` before it did.
    ending: Ending | None = None

    @property
    def first_step(self) -> Step:
        """The step that it begins with."""
        return Step.BEFORE if Step.BEFORE in self.actions else Step.PROGRAM

    @property
    def current(self) -> Begun:
        """The step that was begun last."""
        return self.steps[-1]

    def limit_seconds(self, step: Step) -> float:
        """Seconds that a step may take."""
        return self.timeout_seconds if step is Step.PROGRAM else self.action_timeout_seconds

    def begin(self, step: Step, *, start_before: str, written_before: dict[StreamName, int]) -> "Course":
        """The same with one more step."""
        begun = Begun(step=step, start_before=start_before, at=Moment.now(), written_before=dict(written_before))
        return self.model_copy(update={"steps": (*self.steps, begun)})

    def interrupt(self, interruption: Interruption, cancellation: str | None = None) -> "Course":
        """The same with its last step about to be stopped."""
        stopped = self.current.model_copy(update={"interruption": interruption, "cancellation": cancellation})
        return self.model_copy(update={"steps": (*self.steps[:-1], stopped)})

    def end_program(self, ending: Ending) -> "Course":
        """The same with the program ended."""
        return self.model_copy(update={"ending": ending})
