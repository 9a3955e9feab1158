"""Where the hub's own settings come from: flags, then the environment, then ``.env`` of the working directory, then defaults.

``HUB_*`` variables win over config.yaml, config.yaml wins over the seed's variables, those win over the defaults.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bus.messages import LEASE_SECONDS
from hub.errors import SettingsError
from hub.event_loop import EventLoop
from schemas.programs import PoolName
from schemas.quantities import Bytes

_SOURCES = SettingsConfigDict(
    env_file=".env",
    env_file_encoding="utf-8",
    # A variable that is set but empty counts as not set: compose files and .env templates leave them so.
    env_ignore_empty=True,
    extra="ignore",
    frozen=True,
    case_sensitive=True,
    populate_by_name=True,
    # What a person typed into a variable may be a password: never repeat it in an error.
    hide_input_in_errors=True,
)


def _from(*variables: str) -> Any:
    return AliasChoices(*variables)


class HubSettings(BaseSettings):
    """The settings of one process. Each field names its variables, the stronger first."""

    model_config = _SOURCES

    #: The config.yaml to read; by default the one in PROJECT_DIR, or in the working directory.
    config: Path | None = Field(default=None, validation_alias=_from("HUB_CONFIG"))
    #: Folder of programs and actions; by default that of config.yaml.
    project_dir: Path | None = Field(default=None, validation_alias=_from("HUB_PROJECT_DIR", "PROJECT_DIR"))
    #: The same folder as the Docker engine's host sees it, where the runner is itself in a container; ``auto`` asks the engine.
    host_project_dir: Path | None = Field(default=None, validation_alias=_from("HUB_HOST_PROJECT_DIR", "HOST_PROJECT_DIR"))
    #: Everything the hub must remember: credentials, bus, journal, view. By default ``.hub`` beside config.yaml.
    state_dir: Path | None = Field(default=None, validation_alias=_from("HUB_STATE_DIR"))
    #: ``embedded``, or ``amqp://user:password@host/vhost``, with commas between the hosts of a cluster.
    bus_url: SecretStr = Field(default=SecretStr("embedded"), validation_alias=_from("HUB_BUS_URL"))
    #: A file that holds the address of the bus, and wins over it: passwords need not be in an environment.
    bus_url_file: Path | None = Field(default=None, validation_alias=_from("HUB_BUS_URL_FILE"))
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = Field(
        default="INFO", validation_alias=_from("HUB_LOG_LEVEL")
    )
    #: ``auto``, ``asyncio`` or ``uvloop``: what services run on; by default uvloop where it is installed.
    event_loop: EventLoop = Field(default=EventLoop.AUTO, validation_alias=_from("HUB_EVENT_LOOP"))
    #: Where service logs go instead of standard error; it rotates at 10 MiB.
    log_file: Path | None = Field(default=None, validation_alias=_from("HUB_LOG_FILE"))
    api_host: str = Field(default="127.0.0.1", validation_alias=_from("HUB_API_HOST", "API_HOST"))
    #: 0 lets the system choose; the log says which.
    api_port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8001, validation_alias=_from("HUB_API_PORT", "API_PORT"))
    username: str | None = Field(default=None, validation_alias=_from("HUB_USERNAME"))
    password: SecretStr | None = Field(default=None, validation_alias=_from("HUB_PASSWORD"))
    #: Signs tokens; at least 32 bytes. By default one is made at the first start.
    secret_key: SecretStr | None = Field(default=None, validation_alias=_from("HUB_SECRET_KEY", "SECRET_KEY"))
    #: Commands that may wait in a pool's queue; above it, requests are refused with 429.
    queue_length: Annotated[int, Field(ge=1)] = Field(default=100_000, validation_alias=_from("HUB_QUEUE_LENGTH"))
    #: The pool this runner serves; by default the one of config.yaml's settings.
    pool: PoolName | None = Field(default=None, validation_alias=_from("HUB_POOL"))
    #: Names this hub towards the Docker engine, so that two hubs on one engine leave each other alone.
    instance: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$", validation_alias=_from("HUB_INSTANCE"))
    runner_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$", validation_alias=_from("HUB_RUNNER_ID"))
    #: ``unix:///path`` of the Docker engine.
    docker_host: str = Field(
        default="unix:///var/run/docker.sock", pattern=r"^unix:///.+$", validation_alias=_from("HUB_DOCKER_HOST", "DOCKER_HOST")
    )
    #: Containers that Docker may be starting at once; by default two for each core of its host.
    docker_starts: Annotated[int, Field(ge=1, le=256)] | None = Field(default=None, validation_alias=_from("HUB_DOCKER_STARTS"))
    #: Whether programs without a network run in networks made beforehand; ``auto`` where Docker is one that gains by it.
    network_sandboxes: Literal["auto", "on", "off"] = Field(default="auto", validation_alias=_from("HUB_NETWORK_SANDBOXES"))
    #: Containers that the runner keeps ready for programs, all together, 0 for none; and bytes of memory that they may use.
    warm_containers: Annotated[int, Field(ge=0, le=1024)] = Field(default=8, validation_alias=_from("HUB_WARM_CONTAINERS"))
    warm_memory: Bytes = Field(default=512 * 1024**2, validation_alias=_from("HUB_WARM_MEMORY"))
    #: A file of CA certificates for pip and programs in containers, or ``none``; by default that of this machine's pip.
    ca_bundle: Path | None = Field(default=None, validation_alias=_from("HUB_CA_BUNDLE"))
    #: The command line of Docker Compose, as one types it; by default ``docker compose``, or else ``docker-compose``.
    compose_command: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, validation_alias=_from("HUB_COMPOSE_COMMAND")
    )
    #: Bytes that must be free on the disk of the state directory before the gateway accepts work or the runner takes
    #: it, and on the engine's disk where it is seen from here; 0 turns it off.
    min_free_bytes: Annotated[int, Field(ge=0)] = Field(default=256 * 1024**2, validation_alias=_from("HUB_MIN_FREE_BYTES"))
    #: Seconds between two looks for what a killed runner has left on Docker.
    sweep_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(default=30.0, validation_alias=_from("HUB_SWEEP_SECONDS"))
    #: Only say in the log what would be removed.
    sweep_dry_run: bool = Field(default=False, validation_alias=_from("HUB_SWEEP_DRY_RUN"))
    #: Seconds that programs may still run after SIGTERM reached the runner.
    stop_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(default=4.0, validation_alias=_from("HUB_STOP_SECONDS"))
    #: Seconds that a gateway of a fleet still answers after SIGTERM, while it says that it is not ready: whoever spreads
    #: requests over several gateways must have asked by then.
    leave_seconds: Annotated[float, Field(ge=0, le=300)] = Field(default=3.0, validation_alias=_from("HUB_LEAVE_SECONDS"))

    #: Seconds between two leases of a runner, each good for six times as long. All processes of a fleet have the same.
    lease_seconds: Annotated[float, Field(ge=0.5, le=15)] = Field(
        default=LEASE_SECONDS, validation_alias=_from("HUB_LEASE_SECONDS")
    )
    #: Seconds that a runner which was stopped may be away before what it left running counts as lost.
    handover: Annotated[float, Field(ge=30, le=3600)] = Field(default=600.0, validation_alias=_from("HUB_HANDOVER"))

    @property
    def config_path(self) -> Path:
        """The config.yaml to read, absolute."""
        return (self.config or (self.project_dir or Path()) / "config.yaml").absolute()

    @property
    def project_path(self) -> Path:
        """The folder that relative program paths start from, absolute."""
        return (self.project_dir or self.config_path.parent).absolute()

    @property
    def state_path(self) -> Path:
        """The folder of everything the hub must remember, absolute."""
        return (self.state_dir or self.config_path.parent / ".hub").absolute()


def _hub_variable(name: str) -> str:
    return f"HUB_{name.upper()}"


class ProgramOverrides(BaseSettings):
    """``HUB_*`` variables for the fields of config.yaml's settings; still text, judged together with the file."""

    model_config = SettingsConfigDict(**(_SOURCES | SettingsConfigDict(alias_generator=_hub_variable)))

    docker_image: str | None = None
    timeout_seconds: str | None = None
    max_concurrent_executions: str | None = None
    memory_limit: str | None = None
    cpu_limit: str | None = None
    pids_limit: str | None = None
    network: str | None = None
    stop_grace_seconds: str | None = None
    action_timeout_seconds: str | None = None
    install_timeout_seconds: str | None = None
    output_limit: str | None = None
    max_executions: str | None = None
    on_limit: str | None = None
    retry: str | None = None


class SeedVariables(BaseSettings):
    """The seed's variables for the same fields; config.yaml wins over them."""

    model_config = _SOURCES

    max_executions: str | None = Field(default=None, validation_alias=_from("MAX_EXECUTIONS"))
    timeout_seconds: str | None = Field(default=None, validation_alias=_from("EXECUTION_TIMEOUT"))
    memory_limit: str | None = Field(default=None, validation_alias=_from("MEMORY_LIMIT"))
    cpu_limit: str | None = Field(default=None, validation_alias=_from("CPU_LIMIT"))


class Settings(BaseModel):
    """All that a process is told from outside config.yaml."""

    model_config = ConfigDict(frozen=True)

    hub: HubSettings
    #: Field of ``settings`` → text that wins over config.yaml.
    overrides: dict[str, str]
    #: Field of ``settings`` → text that config.yaml wins over.
    fallbacks: dict[str, str]


def load_settings(**flags: Any) -> Settings:
    """Settings from flags (those that are not ``None``), environment and ``.env``.

    Raises:
        SettingsError: a value can't be used; the text names the variable and never repeats the value.
    """
    try:
        return Settings(
            hub=_with_bus_url(HubSettings(**{name: value for name, value in flags.items() if value is not None})),
            overrides=ProgramOverrides().model_dump(exclude_none=True),
            fallbacks=SeedVariables().model_dump(exclude_none=True),
        )
    except ValidationError as error:
        problems = "\n".join(
            f"  {'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(f"these settings can't be used:\n{problems}") from error


def _with_bus_url(hub: HubSettings) -> HubSettings:
    """The same, with the address of the bus from its file where there is one."""
    if hub.bus_url_file is None:
        return hub
    try:
        address = hub.bus_url_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(f"HUB_BUS_URL_FILE: {hub.bus_url_file} can't be read ({reason})") from error
    return hub.model_copy(update={"bus_url": SecretStr(address)})
