"""What answers look like, for the OpenAPI document; a test holds the real answers against these."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, RootModel

from bus.messages import DeadReason
from schemas.programs import ComposeProfile
from schemas.reasons import Category, Reason
from schemas.status import Status
from schemas.tokens import Scope


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Root(_Document):
    """The hub."""

    message: str
    version: str
    status: str
    container: str


class Health(_Document):
    """How the hub is."""

    status: Literal["healthy", "degraded"]
    timestamp: datetime
    #: Runners that have been heard of within half a minute.
    live_runners: int
    #: Commands that nobody will run, where there are any.
    dead_letters: int | None = None
    #: Component → what is wrong with it.
    problems: dict[str, str] | None = None
    #: What it uses of its machine → which version was found: ``compose``, where a runner is part of this process.
    versions: dict[str, str] | None = None


class Token(_Document):
    """A token."""

    access_token: str
    token_type: Literal["bearer"]
    expires_in: int
    username: str


class ApiToken(_Document):
    """A long-lived token, without what it is."""

    id: str
    name: str
    scope: Scope
    created_at: datetime
    created_by: str
    expires_at: datetime | None


class NewApiToken(ApiToken):
    """A long-lived token, shown this once."""

    token: str


class ApiTokens(RootModel[list[ApiToken]]):
    """The long-lived tokens that hold."""


class Program(_Document):
    """What can be run."""

    id: str
    name: str
    type: Literal["script", "bot"]
    description: str
    enabled: bool
    path: str
    key: str
    docker_image: str | None
    parameters: str | None
    path_docker_compose_run: str | None
    #: ``trusted``: its Compose file may be root on the host.
    compose_profile: ComposeProfile | None


class Programs(RootModel[list[Program]]):
    """The enabled programs."""


class Accepted(_Document):
    """An execution that is queued; where an idempotency key was used before, what became of it since."""

    execution_id: str
    program_id: str
    status: Status
    message: str
    timestamp: datetime


class Redriven(Accepted):
    """An execution that a dead letter became."""

    #: The execution that the dead letter was, or its own id where it was none.
    redrive_of: str


class DeadLetterRow(_Document):
    """A command that nobody will run."""

    id: str
    reason: DeadReason
    #: What exactly was wrong.
    detail: str
    #: What it was published with; empty where that is not known.
    routing_key: str
    dead_at: datetime | None
    message_id: str | None
    size_bytes: int
    #: How its body begins, with escapes for what can't be printed.
    preview: str


class DeadLetters(RootModel[list[DeadLetterRow]]):
    """A page of dead letters, the newest first."""


class DeadLetter(DeadLetterRow):
    """A dead letter with its body."""

    #: Whether it can be run as it is.
    redrivable: bool
    body: str
    body_encoding: Literal["utf-8", "base64"]
    body_truncated: bool


class Attempt(_Document):
    """An attempt that another one followed."""

    attempt: int
    status: Status
    start_time: datetime | None
    end_time: datetime
    exit_code: int | None
    reason: Reason | None
    message: str | None
    runner_id: str | None


class Record(_Document):
    """One execution. Output and error are null until it has ended."""

    execution_id: str
    program_id: str
    status: Status
    start_time: datetime | None
    end_time: datetime | None
    output: str | None
    error: str | None
    output_encoding: Literal["utf-8", "base64"] | None
    error_encoding: Literal["utf-8", "base64"] | None
    output_truncated: bool
    error_truncated: bool
    output_complete: bool
    exit_code: int | None
    reason: Reason | None
    category: Category | None
    queued_time: datetime | None
    submitted_by: str | None
    runner_id: str | None
    #: Whether its container waited for it; null until it was started.
    was_warm: bool | None
    #: The number of the attempt that all else is about; the output is that of the newest one that was started.
    attempt: int
    #: Those before it, in order.
    attempts: list[Attempt]
    #: When the next attempt is due, while the execution waits for it.
    retry_time: datetime | None
    #: How far the preparation of a queued execution has come, for people.
    progress: str | None


class Records(RootModel[list[Record]]):
    """A page of executions, the newest first."""


class Logs(_Document):
    """What an execution wrote."""

    execution_id: str
    program_id: str
    status: Status
    start_time: datetime | None
    end_time: datetime | None
    duration_seconds: float | None
    output: str | None
    error: str | None
    output_encoding: Literal["utf-8", "base64"] | None
    error_encoding: Literal["utf-8", "base64"] | None
    output_lines: int
    error_lines: int


class Count(_Document):
    """How many executions of one program."""

    total: int
    name: str


class Statistics(_Document):
    """Cumulative counts. The sums of the lists are the total."""

    total: int
    by_status: dict[Status, list[Count]]
    recent_executions: int
    max_executions: int
    concurrent_executions: int


class Info(_Document):
    """How many records there are."""

    total_executions: int
    max_executions: int
    available_slots: int
    storage_type: str
    cleanup_enabled: bool


class RunningExecution(_Document):
    """What runs now."""

    execution_id: str
    program_id: str
    start_time: datetime
    duration_seconds: float


class Concurrent(_Document):
    """All that runs now."""

    concurrent_count: int
    max_concurrent: int
    running_executions: list[RunningExecution]


class Cleanup(_Document):
    """What a cleanup did."""

    message: str
    removed_executions: int
    remaining_executions: int
    max_executions: int


class ActiveContainer(_Document):
    """A container of this hub that runs."""

    container_id: str
    #: As config.yaml names it.
    image: str
    status: str
    name: str
    runner_id: str


class _Gathered(_Document):
    total_containers: int
    message: str
    #: Live runners that gave no answer in time: their containers are not in the list.
    missing_runners: list[str]
    #: Whether something was left out for want of space.
    truncated: bool


class ActiveContainers(_Gathered):
    """The containers of this hub that run."""

    containers: list[ActiveContainer]


class ContainerLog(_Document):
    """The end of what a container has written."""

    container_id: str
    stdout: str
    stderr: str
    logs_lines: int
    truncated: bool
    runner_id: str


class ContainerLogs(_Gathered):
    """The ends of what the running containers of an image have written."""

    image_name: str
    containers: list[ContainerLog]


class Image(_Document):
    """An image that config.yaml names."""

    repository: str
    tag: str
    image_id: str
    size: str
    created_at: str
    full_name: str
    source: Literal["script", "bot", "default"]
    script_id: str | None = None
    bot_id: str | None = None
    description: str | None = None


class Images(_Document):
    """The configured images."""

    total_images: int
    images: list[Image]


class FoundImages(Images):
    """The configured images whose name contains a text."""

    search_term: str


class Problem(BaseModel):
    """An error, as RFC 9457 has it; some kinds have further members."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str


class OpenApi(RootModel[dict[str, Any]]):
    """An OpenAPI 3.1 document."""
