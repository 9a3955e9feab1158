"""The ``settings`` section of config.yaml: what holds for every program that does not say otherwise."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from schemas.programs import Network, OnLimit, PoolName
from schemas.quantities import Bytes, Memory, NanoCpus, Seconds
from schemas.retries import NEVER, RetryPolicy

#: The image that the project makes itself.
DEFAULT_IMAGE = "pyexecutorhub-base"


class ProgramSettings(BaseModel):
    """Defaults and limits for programs. The seed's keys keep their names and defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Image of programs that name none.
    docker_image: Annotated[str, Field(min_length=1)] = DEFAULT_IMAGE
    #: Seconds a program may run.
    timeout_seconds: Seconds = 300.0
    #: Executions that one runner runs at the same time.
    max_concurrent_executions: Annotated[int, Field(ge=1, le=10_000)] = 5
    #: Bytes of memory of a container; swap is off, so this is all it gets.
    memory_limit: Memory = 1024**3
    cpu_limit: NanoCpus = 500_000_000
    #: Processes and threads in a container.
    pids_limit: Annotated[int, Field(ge=1)] = 256
    #: Of containers of programs that do not say; not of Compose programs.
    network: Network = Network.BRIDGE
    #: Seconds between SIGTERM and SIGKILL.
    stop_grace_seconds: Seconds = 10.0
    #: Seconds that each of ``act_before`` and ``act_after`` may run.
    action_timeout_seconds: Seconds = 60.0
    #: Seconds that installing the requirements of one program may take.
    install_timeout_seconds: Seconds = 600.0
    on_limit: OnLimit = OnLimit.QUEUE
    #: Bytes kept of each of stdout and stderr; the middle of what is longer is dropped, and said so.
    output_limit: Bytes = 10 * 1024**2
    #: Finished executions that are kept.
    max_executions: Annotated[int, Field(ge=1)] = 10_000
    #: Whether executions of programs that say nothing about it are tried again.
    retry: RetryPolicy = NEVER
    #: The work queue of programs that name none.
    pool: PoolName = "default"
