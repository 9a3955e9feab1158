"""From a claimed command to what is run: the program that it names, its files, and the one specification made of them."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

from runner.actions import FOLDER, find_actions, read_action_requirements
from runner.claimed import Claimed
from runner.compose_files import locate
from runner.compose_spec import ComposeSpec, plan_compose
from runner.engine import Spec
from runner.errors import CannotRun
from runner.ports import Catalogues
from runner.program_files import ProgramFiles, gather
from runner.requirement_files import RequirementFiles
from runner.run_spec import HostPaths, Owner, RunSpec, plan
from runner.steps import Step
from runner.surroundings import Surroundings
from schemas.catalogue import Catalogue
from schemas.programs import Program
from schemas.reasons import Reason
from schemas.times import utc_now


@dataclass(frozen=True, slots=True)
class _Seen:
    """All that is looked up on the disk, in one go."""

    files: ProgramFiles
    actions: frozenset[Step]
    actions_require: RequirementFiles | None
    #: Identities of what is mounted.
    mounted: tuple[str, ...]


async def find_program(name: str, catalogues: Catalogues) -> tuple[Catalogue, Program]:
    """The program with this id or key, enabled or not, and the catalogue that has it.

    Raises:
        CannotRun: there is none.
    """
    catalogue = catalogues.current
    program = catalogue.find(name)
    if program is None:
        # It may have been added a moment ago, and its command been faster than the news.
        catalogue = await catalogues.reload()
        program = catalogue.find(name)
    if program is None:
        raise CannotRun(Reason.UNKNOWN_PROGRAM, f"Program with ID '{name}' not found")
    return catalogue, program


async def make_spec(claimed: Claimed, catalogue: Catalogue, program: Program, around: Surroundings) -> Spec:
    """How this attempt is run, by what lies in the program's folder now.

    Raises:
        CannotRun: something is missing there, or can't be used.
    """
    if program.path_docker_compose_run is not None:
        return await _plan_project(claimed, catalogue, program, around)
    return await plan_container(claimed, catalogue, program, around)


async def _plan_project(claimed: Claimed, catalogue: Catalogue, program: Program, around: Surroundings) -> ComposeSpec:
    place = await asyncio.to_thread(locate, program, catalogue.project_dir, around.out_of_bounds)
    return plan_compose(
        program,
        catalogue.settings,
        place,
        execution_id=claimed.execution_id,
        attempt=claimed.attempt,
        parameters=claimed.command.parameters,
        paths=_paths(catalogue, around),
        owner=Owner(around.identity, claimed.epoch),
        now=utc_now(),
        has_actions=bool(await asyncio.to_thread(find_actions, catalogue.project_dir)),
    )


async def plan_container(claimed: Claimed, catalogue: Catalogue, program: Program, around: Surroundings) -> RunSpec:
    """How an attempt of a program that no Compose file runs is run.

    Raises:
        CannotRun: something is missing there, or can't be used.
    """
    seen = await asyncio.to_thread(_look, program, catalogue.project_dir, around.out_of_bounds, around.ca_bundle)
    spec = plan(
        program,
        catalogue.settings,
        seen.files,
        execution_id=claimed.execution_id,
        attempt=claimed.attempt,
        parameters=claimed.command.parameters,
        paths=_paths(catalogue, around),
        owner=Owner(around.identity, claimed.epoch),
        now=utc_now(),
        actions=seen.actions,
        actions_require=seen.actions_require,
        ca_bundle=around.ca_bundle,
    )
    return replace(spec, mounted=seen.mounted)


def _identities(paths: list[Path]) -> tuple[str, ...]:
    """What tells a folder or a file from one that is put in its place. As long as it is mounted, no other is told like it."""
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:  # gone meanwhile: Docker will say so
            found.append("")
        else:
            found.append(f"{status.st_dev}:{status.st_ino}")
    return tuple(found)


def _look(program: Program, project_dir: Path, out_of_bounds: tuple[Path, ...], ca_bundle: Path | None) -> _Seen:
    files = gather(program, project_dir, out_of_bounds)
    actions = find_actions(project_dir)
    mounted = [files.folder, *([project_dir / FOLDER] if actions else []), *filter(None, [ca_bundle])]
    return _Seen(files, actions, read_action_requirements(project_dir), _identities(mounted))


def _paths(catalogue: Catalogue, around: Surroundings) -> HostPaths:
    project_dir = catalogue.project_dir.absolute()
    return HostPaths(project_dir, around.host_project_dir or project_dir)
