"""A program: a runnable entry of config.yaml."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from schemas.ids import ProgramId
from schemas.quantities import Memory, NanoCpus, Seconds
from schemas.retries import RetryPolicy

#: A pool is one word of a routing key and of a queue's name.
PoolName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_Path = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]

#: Most containers that are kept ready for one program.
MOST_WARM = 64
#: A module as ``import`` names it.
_Module = Annotated[str, StringConstraints(max_length=200, pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]


def _nothing_if_empty(value: object) -> object:
    # Written, and left empty: as in the seed, that names no image.
    return None if value == "" else value


class Network(StrEnum):
    """What of the network a program's container sees."""

    #: Docker's own bridge, and through it whatever the engine's host reaches.
    BRIDGE = "bridge"
    #: A loopback interface of its own, and nothing else.
    NONE = "none"


class ProgramKind(StrEnum):
    """The section of config.yaml that a program stands in."""

    SCRIPT = "script"
    BOT = "bot"


class OnLimit(StrEnum):
    """What becomes of a request for an execution while as many run as may."""

    #: It waits in the queue.
    QUEUE = "queue"
    #: It is refused with 429.
    REJECT = "reject"


class ComposeProfile(StrEnum):
    """How much a Compose file may ask for."""

    #: What can't reach beyond the program's own folder and its own containers.
    RESTRICTED = "restricted"
    #: Everything: such a file is root on the host.
    TRUSTED = "trusted"


class Program(BaseModel):
    """One program with its own limits; a limit of ``None`` means the one in ``settings``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The key of the entry in config.yaml; it names the program as well as ``id`` does.
    key: ProgramId
    #: The canonical id, used in statistics, routing keys and PROGRAM_ID.
    id: ProgramId
    name: str
    kind: ProgramKind
    #: The program's folder: relative to the folder of config.yaml, or absolute.
    path: _Path
    description: str = ""
    enabled: bool = True
    #: The file that is run, relative to ``path``.
    main_file: _Path = "main.py"
    #: Image to run in; ``None`` is the default image of ``settings``.
    docker_image: Annotated[str | None, BeforeValidator(_nothing_if_empty)] = None
    #: Command-line parameters, split as a shell would, never run by one.
    parameters: str | None = None
    #: A Compose file to run instead of an image, relative to ``path`` or absolute.
    path_docker_compose_run: _Path | None = None
    compose_profile: ComposeProfile = ComposeProfile.RESTRICTED
    on_limit: OnLimit | None = None
    timeout_seconds: Seconds | None = None
    #: Seconds between SIGTERM and SIGKILL.
    stop_grace_seconds: Seconds | None = None
    memory_limit: Memory | None = None
    cpu_limit: NanoCpus | None = None
    pids_limit: Annotated[int, Field(ge=1)] | None = None
    #: Of a container; what a Compose program has of networks its file says.
    network: Network | None = None
    #: Whether an execution that failed is tried again.
    retry: RetryPolicy | None = None
    #: Containers that are kept ready for it; ``None`` keeps as many as its latest executions suggest, 0 keeps none.
    warm: Annotated[int, Field(ge=0, le=MOST_WARM)] | None = None
    #: Python modules that a container kept ready imports before its job comes.
    preload: Annotated[tuple[_Module, ...], Field(max_length=64)] = ()
    #: The work queue that its commands go to.
    pool: PoolName | None = None

    @field_validator("network")
    @classmethod
    def _only_of_a_container(cls, network: Network | None, others: ValidationInfo) -> Network | None:
        # Taken and not obeyed, it would be believed.
        if network is not None and others.data.get("path_docker_compose_run") is not None:
            raise ValueError("does not hold for a Compose program; write network_mode into its Compose file")
        return network
