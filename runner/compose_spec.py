"""How one attempt of a Compose program is run, decided once and purely."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from runner import labels
from runner.run_spec import HostPaths, Owner, container_name, environment
from runner.steps import Step
from schemas.programs import ComposeProfile, Program
from schemas.settings import ProgramSettings


@dataclass(frozen=True, slots=True)
class Place:
    """Where a Compose program lies, absolute."""

    file: Path
    #: The folder that all of it must lie in: the program's, or the file's where that is elsewhere.
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeSpec:
    """All that the Compose engine must know to run one attempt."""

    execution_id: str
    attempt: int
    #: Canonical.
    program_id: str
    #: The Compose file, absolute, as this process sees it.
    file: Path
    #: The folder that all of it lies in, as this process sees it, absolute: the program's, or the file's if that is elsewhere.
    folder: Path
    #: From how this process sees paths to how the engine's host does.
    paths: HostPaths
    #: Whether the file may ask for everything.
    trusted: bool
    #: For interpolation in the file: PROGRAM_ID, EXECUTION_ID, EXECUTION_ATTEMPT, PARAM_*. Beside ``.env``, nothing else is
    #: there to interpolate.
    env: Mapping[str, str] = field(repr=False)
    #: Of each service: the most it may have, and what it gets where it says nothing. A trusted file may ask for more.
    memory_bytes: int
    nano_cpus: int
    pids_limit: int
    timeout_seconds: float
    #: Seconds that building its images may take.
    build_timeout_seconds: float
    stop_grace_seconds: float
    #: Of every container, network and volume.
    labels: Mapping[str, str]
    #: What people should know about how it is run.
    notes: tuple[str, ...] = ()
    #: None are run around a Compose program: which of its containers would they be run in?
    actions: frozenset[Step] = frozenset()
    action_timeout_seconds: float = 0.0

    @property
    def name(self) -> str:
        """Names the attempt towards the engine, as :attr:`runner.run_spec.RunSpec.name` does."""
        return container_name(self.execution_id, self.attempt)

    @property
    def project(self) -> str:
        """The Compose project: of this attempt alone, so two runs of one file never meet."""
        return project_name(self.name)

    @property
    def image(self) -> str:
        """What is run, in a word: a Compose program has no one image."""
        return self.file.name

    @property
    def command_line(self) -> tuple[str, ...]:
        """What this run stands for, for the log."""
        return ("docker", "compose", "-p", self.project, "-f", str(self.file), "up")


def project_name(name: str) -> str:
    """The Compose project of an attempt, whose names are lower-case letters, digits, dashes and underscores."""
    return "hub-" + name.lower().replace(".", "-")


def plan_compose(
    program: Program,
    settings: ProgramSettings,
    place: Place,
    *,
    execution_id: str,
    attempt: int,
    parameters: Mapping[str, object],
    paths: HostPaths,
    owner: Owner,
    now: datetime,
    has_actions: bool,
) -> ComposeSpec:
    """The one translation of a Compose program and a command into what is run.

    Raises:
        CannotRun: a parameter can't be used.
    """
    timeout_seconds = program.timeout_seconds or settings.timeout_seconds
    notes = []
    if program.parameters:
        notes.append("configured parameters are not passed to a Compose program: which of its services would get them?")
    if has_actions:
        notes.append("actions are not run around a Compose program")
    return ComposeSpec(
        execution_id=execution_id,
        attempt=attempt,
        program_id=program.id,
        file=place.file,
        folder=place.folder,
        paths=paths,
        trusted=program.compose_profile is ComposeProfile.TRUSTED,
        env=environment(program.id, execution_id, attempt, parameters, {}),
        memory_bytes=program.memory_limit or settings.memory_limit,
        nano_cpus=program.cpu_limit or settings.cpu_limit,
        pids_limit=program.pids_limit or settings.pids_limit,
        timeout_seconds=timeout_seconds,
        build_timeout_seconds=settings.install_timeout_seconds,
        stop_grace_seconds=program.stop_grace_seconds or settings.stop_grace_seconds,
        labels={
            **owner.labels(execution_id, attempt, program.id, now=now, timeout_seconds=timeout_seconds),
            labels.COMPOSE_PROJECT: project_name(container_name(execution_id, attempt)),
        },
        notes=tuple(notes),
    )
