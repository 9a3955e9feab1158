"""How one attempt is run, decided once and purely: no I/O here."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from runner import labels
from runner.actions import FOLDER as ACTIONS_FOLDER
from runner.errors import CannotRun
from runner.identity import Identity
from runner.image_names import is_image_name
from runner.program_files import ProgramFiles
from runner.requirement_files import RequirementFiles
from runner.requirements import Requirements, requirements_of
from runner.steps import Step
from schemas.programs import Network, Program
from schemas.reasons import Reason
from schemas.settings import ProgramSettings

#: Where a program finds its folder.
WORKSPACE = "/workspace"
#: Where the actions are, read-only.
ACTIONS = "/project/actions"

_INTERPRETERS = {".py": "python", ".js": "node", ".sh": "bash"}
_OTHER_INTERPRETER = "python"

#: Longest NAME=value, in bytes, that Linux passes to a program (MAX_ARG_STRLEN less the closing NUL).
_LONGEST_VARIABLE = 128 * 1024 - 1
_NOT_IN_A_NAME = re.compile(r"[^A-Z0-9_]")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """All that an engine must know to run one attempt."""

    execution_id: str
    attempt: int
    #: Canonical.
    program_id: str
    image: str
    #: The whole command line; ``None`` for the image's own command.
    argv: tuple[str, ...] | None
    #: What follows the image's own command; empty where ``argv`` says it all.
    arguments: tuple[str, ...] = ()
    #: What people should know about how it is run.
    notes: tuple[str, ...] = ()
    #: Never shown: it holds what ``.env`` sets.
    env: Mapping[str, str] = field(repr=False)
    #: That part of it which is the same for each execution: what ``.env`` sets.
    file_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Python modules that a warm container has imported before its job comes.
    preload: tuple[str, ...] = ()
    #: The program's folder as the engine's host sees it.
    host_folder: str
    #: Which folders and files those paths lead to now: one that was put in the place of another is another.
    mounted: tuple[str, ...] = ()
    #: What is to be installed into the image before the program runs in it; ``None`` for nothing.
    requirements: Requirements | None = None
    #: The folder ``actions/`` as the engine's host sees it, and which actions there are in it.
    host_actions: str | None = None
    actions: frozenset[Step] = frozenset()
    #: Seconds that each action may run.
    action_timeout_seconds: float
    #: A file of CA certificates, as the engine's host sees it, that pip and the program shall trust.
    host_ca_bundle: str | None = None
    #: ``uid:gid`` to run as where the image names nobody: the owner of the program's folder, where that is not root.
    user: str | None = None
    memory_bytes: int
    nano_cpus: int
    pids_limit: int
    network: Network = Network.BRIDGE
    timeout_seconds: float
    stop_grace_seconds: float
    labels: Mapping[str, str]

    @property
    def name(self) -> str:
        """The container's name."""
        return container_name(self.execution_id, self.attempt)

    @property
    def command_line(self) -> tuple[str, ...]:
        """What is run, for the log."""
        return (self.image, *(self.argv or self.arguments))


def container_name(execution_id: str, attempt: int) -> str:
    """The name of the container of one attempt: the execution id, with the attempt's number from the second on."""
    return execution_id if attempt == 1 else f"{execution_id}.{attempt}"


@dataclass(frozen=True, slots=True)
class HostPaths:
    """How the engine's host sees the paths that this process sees: they differ when the runner is itself in a container."""

    #: The project's folder as this process sees it, absolute.
    project_dir: Path
    #: The same folder as the engine's host sees it.
    host_project_dir: Path

    def of(self, path: Path) -> str:
        """The host's path; one outside the project's folder is the same on both sides."""
        try:
            return str(self.host_project_dir / path.relative_to(self.project_dir))
        except ValueError:
            return str(path)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose container it will be."""

    identity: Identity
    epoch: str

    def labels(
        self, execution_id: str, attempt: int, program_id: str, *, now: datetime, timeout_seconds: float
    ) -> dict[str, str]:
        """What all that belongs to one attempt is labelled with."""
        return {
            labels.MANAGED: "true",
            labels.INSTANCE: self.identity.instance,
            labels.RUNNER_ID: self.identity.runner_id,
            labels.EXECUTION_ID: execution_id,
            labels.ATTEMPT: str(attempt),
            labels.EPOCH: self.epoch,
            labels.PROGRAM_ID: program_id,
            labels.DEADLINE: (now + timedelta(seconds=timeout_seconds)).isoformat(),
        }


def plan(
    program: Program,
    settings: ProgramSettings,
    files: ProgramFiles,
    *,
    execution_id: str,
    attempt: int,
    parameters: Mapping[str, Any],
    paths: HostPaths,
    owner: Owner,
    now: datetime,
    actions: frozenset[Step] = frozenset(),
    actions_require: RequirementFiles | None = None,
    ca_bundle: Path | None = None,
) -> RunSpec:
    """The one translation of a program and a command into what is run.

    Raises:
        CannotRun: a file is missing, or a name or a parameter can't be used.
    """
    image = program.docker_image or settings.docker_image
    if not is_image_name(image):
        raise CannotRun(
            Reason.IMAGE_INVALID, f"Docker image name '{image}' is not valid. Please write it as [registry/]name[:tag]."
        )
    arguments = _split(program)
    main_file = _main_file(program, files)
    argv = None if main_file is None else (_interpreter(main_file), main_file, *arguments)
    timeout_seconds = program.timeout_seconds or settings.timeout_seconds
    return RunSpec(
        execution_id=execution_id,
        attempt=attempt,
        program_id=program.id,
        image=image,
        argv=argv,
        arguments=arguments if argv is None else (),
        notes=() if main_file in (None, program.main_file) else (f"{program.main_file} not found: running {main_file}",),
        env=environment(program.id, execution_id, attempt, parameters, files.env),
        file_env=files.env,
        preload=program.preload,
        host_folder=paths.of(files.folder),
        requirements=requirements_of(
            files.requirements, actions_require if actions else None, files.env, settings.install_timeout_seconds
        ),
        host_ca_bundle=None if ca_bundle is None else paths.of(ca_bundle),
        host_actions=paths.of(paths.project_dir / ACTIONS_FOLDER) if actions else None,
        actions=actions,
        action_timeout_seconds=settings.action_timeout_seconds,
        user=None if files.owner is None else "{}:{}".format(*files.owner),
        memory_bytes=program.memory_limit or settings.memory_limit,
        nano_cpus=program.cpu_limit or settings.cpu_limit,
        pids_limit=program.pids_limit or settings.pids_limit,
        network=program.network or settings.network,
        timeout_seconds=timeout_seconds,
        stop_grace_seconds=program.stop_grace_seconds or settings.stop_grace_seconds,
        labels={
            **owner.labels(execution_id, attempt, program.id, now=now, timeout_seconds=timeout_seconds),
            labels.IMAGE: image,
        },
    )


def _main_file(program: Program, files: ProgramFiles) -> str | None:
    """The file to run; ``None`` where the program is baked into an image of its own."""
    if files.main_file_exists:
        return program.main_file
    if program.docker_image is not None:
        return None
    if files.alternative is not None:
        return files.alternative
    raise CannotRun(
        Reason.MAIN_FILE_NOT_FOUND,
        f"Main program file '{program.main_file}' not found in {program.path}. "
        "Please ensure the file exists or update the configuration.",
    )


def _interpreter(main_file: str) -> str:
    return _INTERPRETERS.get(PurePosixPath(main_file).suffix.lower(), _OTHER_INTERPRETER)


def _split(program: Program) -> tuple[str, ...]:
    text = program.parameters or ""
    if "\0" in text:
        raise CannotRun(Reason.INVALID_PARAMETERS, f"The parameters of program '{program.id}' have a NUL character")
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise CannotRun(
            Reason.INVALID_PARAMETERS, f"The parameters of program '{program.id}' can't be split as a command line: {error}"
        ) from error


def environment(
    program_id: str, execution_id: str, attempt: int, parameters: Mapping[str, Any], env_file: Mapping[str, str]
) -> dict[str, str]:
    """The variables of an attempt: those of ``.env``, PARAM_* for each parameter, and those that say which attempt it is.

    Raises:
        CannotRun: a parameter can't become a variable.
    """
    named: dict[str, str] = {}
    for key, value in parameters.items():
        name = variable_name(key)
        if name in named:
            raise CannotRun(Reason.INVALID_PARAMETERS, f"Two parameters would both become {name}; '{key}' is one of them")
        named[name] = _variable_value(key, value)
    # The hub's own come last: neither the file nor a parameter can change them.
    own = {"PROGRAM_ID": program_id, "EXECUTION_ID": execution_id, "EXECUTION_ATTEMPT": str(attempt)}
    environment = {**env_file, **named, **own}
    for name, text in environment.items():
        if len(name.encode()) + 1 + len(text.encode()) > _LONGEST_VARIABLE:
            raise CannotRun(Reason.INVALID_PARAMETERS, f"The variable {name} is longer than {_LONGEST_VARIABLE} bytes")
    return environment


def variable_name(key: str) -> str:
    """The variable that a parameter becomes: ``my-key`` gives ``PARAM_MY_KEY``."""
    return "PARAM_" + _NOT_IN_A_NAME.sub("_", key.upper())


def _variable_value(key: str, value: Any) -> str:
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise CannotRun(Reason.INVALID_PARAMETERS, f"Parameter '{key}' is not JSON: {error}") from error
    if "\0" in text:
        raise CannotRun(Reason.INVALID_PARAMETERS, f"Parameter '{key}' has a NUL character")
    return text
