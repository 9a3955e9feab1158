"""The engine for Compose programs: Compose resolves the file, builds and creates; Docker's API does the rest.

See :mod:`runner.engine` for the contract; a project takes the place of a container. What is run is never the program's own
file, but one that was made from what Compose understood of it, checked and completed, in a folder where only the runner writes.
Starting and removing need neither the file nor Compose: a project that an earlier life of the runner left is found and removed
by its labels.
"""

import asyncio
import shutil
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from runner import labels
from runner.compose_command import ComposeCommand, Done, find_command, own_environment, run
from runner.compose_files import WorkingCopy, as_yaml, check_sources, copy_for_compose
from runner.compose_inspection import objections
from runner.compose_model import make_project, refused
from runner.compose_plan import ComposePlan
from runner.compose_project import Project
from runner.compose_run import ComposeRun
from runner.compose_spec import ComposeSpec, project_name
from runner.compose_words import last_words, warnings_in
from runner.compose_yaml import BadYaml, read_yaml
from runner.docker_connection import DockerConnection
from runner.docker_engine import DockerEngine
from runner.docker_images import DockerImages
from runner.docker_projects import DockerProjects, ServiceContainer
from runner.engine import NEVER, NO_ORDER, ContainerState, Exit, Found, Frame, Order, Prepared
from runner.errors import AlreadyStarted, CannotRun, ContainerGone, OutOfOrder
from runner.identity import Identity
from runner.preparation import NOBODY, Listener, Stage
from runner.run_spec import container_name
from schemas.catalogue import Catalogue
from schemas.failpoints import failpoint
from schemas.progress_events import Phase
from schemas.reasons import Reason

log = structlog.get_logger()

#: Seconds that Compose may take to understand a file, …
_RESOLVE_SECONDS = 60.0
#: … and to make containers, networks and volumes of images that are there.
_CREATE_SECONDS = 300.0
#: Seconds after which what Docker was just making, when Compose was ended in the middle, is there to be removed.
_LATE_SECONDS = 1.0
_LONGEST_MODEL = 1024 * 1024
#: The last start of a project of which something was started: it is never started as a whole again.
_STARTED = "started"

MISSING = (
    "Docker Compose was not found: install the plugin of docker compose (docker-compose-plugin or docker-compose-v2)"
    " or docker-compose, or name its command in HUB_COMPOSE_COMMAND"
)


class ComposeEngine:
    """Compose projects on the Docker engine behind a unix socket."""

    def __init__(
        self,
        *,
        identity: Identity,
        docker: DockerEngine,
        work_dir: Path,
        socket_path: str = "/var/run/docker.sock",
        command: ComposeCommand | None = None,
        configured_command: str | None = None,
    ) -> None:
        """``docker`` runs the containers; in ``work_dir``, which is there, nobody else writes. Where ``command`` is missing it
        is looked for when it is first needed.
        """
        self._docker = docker
        self._work_dir = work_dir
        self._docker_host = f"unix://{socket_path}"
        self._connection = DockerConnection(socket_path)
        self._projects = DockerProjects(self._connection, identity)
        self._images = DockerImages(self._connection)
        self._configured_command = configured_command
        self.command = command
        self._runs: dict[str, ComposeRun] = {}
        #: Attempts for which Docker may still be making something.
        self._unsettled: set[str] = set()

    @property
    def version(self) -> str | None:
        """The Compose that was found, for people; ``None`` where none was."""
        return self.command.title if self.command else None

    def problem(self, catalogue: Catalogue) -> str | None:
        """What keeps programs of this catalogue from running, for people; ``None`` where nothing does."""
        waiting = [program.id for program in catalogue if program.enabled and program.path_docker_compose_run]
        return f"{MISSING}. Programs that need it: {', '.join(waiting)[:300]}" if waiting and self.command is None else None

    async def prepare(self, spec: ComposeSpec, listener: Listener = NOBODY) -> Prepared:
        """See :meth:`runner.engine.Engine.prepare`."""
        command = await self._find_command()
        await self._remove_never_started(spec)
        work = self._work_dir / spec.project
        await asyncio.to_thread(_fresh_folder, work)
        project, warnings = await self._resolve(command, spec, work)
        for image in sorted({service.image for service in project.services.values() if service.image}):
            await self._images.ensure(image, listener)
        file = work / "compose.json"
        await asyncio.to_thread(file.write_bytes, as_yaml(project.document))
        if project.is_built:
            await listener.progress(Stage(Phase.BUILD, "Building the images of the Compose file"))
            await self._build(command, spec, project, work)
            failpoint("compose.built")
        self._unsettled.add(spec.name)
        await self._check_sources(spec, project)
        await self._compose(command, spec, work, "up", "--no-start", "--no-build", limit_seconds=_CREATE_SECONDS)
        failpoint("compose.created")
        containers = await self._projects.containers(spec.project)
        self._unsettled.discard(spec.name)
        await self._inspect(spec, containers)
        made = ComposeRun(
            project,
            containers,
            self._docker,
            self._projects,
            stop_grace_seconds=spec.stop_grace_seconds,
            check=partial(self._check_sources, spec, project),
        )
        self._runs[spec.name] = made
        last = min((each for each in containers if each.service in project.last), key=lambda each: each.title, default=None)
        if last is None:
            raise CannotRun(Reason.START_FAILED, "Compose made no container")
        plan = ComposePlan(
            services=project.services,
            titles=made.titles,
            sources=project.sources,
            folder=spec.folder,
            file=spec.file,
            trusted=spec.trusted,
            stop_grace_seconds=spec.stop_grace_seconds,
        )
        # Without Docker's record of the output nobody else could go on with it.
        adoptable = not project.is_unrecorded
        return Prepared(
            last.id,
            notes=(*warnings, *project.notes),
            adoptable=adoptable,
            plan=plan.to_text() if adoptable else None,
        )

    async def adopt(self, name: str, plan: str | None = None, order: Order = NO_ORDER) -> None:
        """See :meth:`runner.engine.Engine.adopt`. A service that was not started yet still is, by this process."""
        known = ComposePlan.from_text(plan)
        if (earlier := self._runs.pop(name, None)) is not None:
            await earlier.close()
        containers = await self._projects.containers(project_name(name))
        taken_up = ComposeRun(
            known.project,
            containers,
            self._docker,
            self._projects,
            stop_grace_seconds=known.stop_grace_seconds,
            check=partial(self._check_sources, known, known.project),
            order=order,
        )
        if taken_up.titles != known.titles:
            raise ContainerGone(f"of the services of {name} only these are left: {', '.join(taken_up.titles) or 'none'}")
        await taken_up.take_up()
        failpoint("compose.adopted")
        self._runs[name] = taken_up

    async def start(self, name: str) -> None:
        """See :meth:`runner.engine.Engine.start`."""
        await self._prepared(name).start()

    def output(self, name: str) -> AsyncGenerator[Frame, None]:
        """See :meth:`runner.engine.Engine.output`."""
        return self._prepared(name).output()

    def may_lack_output(self, name: str) -> bool:  # noqa: ARG002
        """See :meth:`runner.engine.Engine.may_lack_output`. What is not read live here ends as interrupted."""
        return False

    async def wait(self, name: str) -> Exit:
        """See :meth:`runner.engine.Engine.wait`."""
        return await self._prepared(name).wait()

    async def stop(self, name: str, grace_seconds: float) -> None:
        """See :meth:`runner.engine.Engine.stop`."""
        if (there := self._runs.get(name)) is not None:
            await there.stop(grace_seconds)
            return
        containers = await self._projects.containers(project_name(name))
        await asyncio.gather(*(self._docker.stop(each.id, grace_seconds) for each in containers if each.state != "created"))

    async def destroy(self, name: str) -> None:
        """See :meth:`runner.engine.Engine.destroy`. This is ``down --volumes --remove-orphans``, without need of the file."""
        project = project_name(name)
        if (there := self._runs.get(name)) is not None:
            await there.close()
            for container_id in there.container_ids:
                await self._docker.destroy(container_id)
        await self._projects.remove(project)
        if name in self._unsettled:
            await asyncio.sleep(_LATE_SECONDS)
            await self._projects.remove(project)
            self._unsettled.discard(name)
        self._runs.pop(name, None)
        await asyncio.to_thread(shutil.rmtree, self._work_dir / project, ignore_errors=True)

    async def find(self, name: str) -> Found | None:
        """See :meth:`runner.engine.Engine.find`."""
        containers = await self._projects.containers(project_name(name))
        if not containers:
            return None
        state = _state_of([each.state for each in containers])
        return Found(name, state, containers[0].labels, NEVER if state is ContainerState.CREATED else _STARTED)

    async def list_ours(self) -> list[Found]:
        """See :meth:`runner.engine.Engine.list_ours`. A project of which only networks or volumes are left counts as ended."""
        states: dict[str, list[str]] = {}
        theirs = {}
        for found, state in await self._projects.ours():
            name = container_name(found.get(labels.EXECUTION_ID, ""), int(found.get(labels.ATTEMPT) or 1))
            theirs[name] = found
            states.setdefault(name, []).extend([state] if state else [])
        return [Found(name, _state_of(states[name]), found) for name, found in theirs.items()]

    async def close(self) -> None:
        """See :meth:`runner.engine.Engine.close`."""
        for there in self._runs.values():
            await there.close()
        self._runs.clear()
        await self._connection.close()

    # Preparing

    async def _find_command(self) -> ComposeCommand:
        if self.command is None:
            self.command = await find_command(self._configured_command)
        if self.command is None:
            raise CannotRun(Reason.COMPOSE_UNAVAILABLE, f"{MISSING}.")
        return self.command

    async def _remove_never_started(self, spec: ComposeSpec) -> None:
        containers = await self._projects.containers(spec.project)
        if any(each.state != "created" for each in containers):
            raise AlreadyStarted(f"project {spec.project} was started before")
        if await self._projects.is_anothers(spec.project):
            raise CannotRun(Reason.INTERNAL, f"A Compose project that is not this runner's has the name {spec.project}")
        # Docker refuses where one has been started since we looked.
        await self._projects.remove_never_started(spec.project)
        await self.destroy(spec.name)

    async def _resolve(self, command: ComposeCommand, spec: ComposeSpec, work: Path) -> tuple[Project, list[str]]:
        """The project to run, and Compose's warnings about the file."""
        if spec.trusted:
            copy, into = WorkingCopy(spec.file, {}), None
        else:
            into = work / "copy"
            copy = await asyncio.to_thread(copy_for_compose, spec, into)
        folder = copy.file.parent
        # Nothing of the runner's own environment: all of it could be interpolated.
        env = {**copy.env, "PWD": str(folder), **spec.env, **command.own_variables}
        words = [*command.words, "-p", spec.project, "-f", str(copy.file), "--project-directory", str(folder), "config"]
        done = await self._run([*words, *([] if command.is_v1 else ["--format", "json"])], env, folder, _RESOLVE_SECONDS)
        text = done.stderr.decode("utf-8", "replace")
        if into is not None:
            text = text.replace(str(into), "")
        if done.code != 0:
            raise refused(spec, [last_words(text)])
        try:
            resolved = await asyncio.to_thread(read_yaml, done.stdout, longest=_LONGEST_MODEL)
        except BadYaml as error:
            raise refused(spec, [str(error)]) from error
        return make_project(resolved, spec, working_copy=into), warnings_in(text)

    async def _build(self, command: ComposeCommand, spec: ComposeSpec, project: Project, work: Path) -> None:
        await self._check_sources(spec, project)
        log.info("building images", action="image_build_started", execution_id=spec.execution_id)
        # Docker's older builder, the one that version 1 knows, would leave the container of a step that failed.
        words = ["build", *(["--force-rm"] if command.is_v1 else [])]
        limit = spec.build_timeout_seconds
        await self._compose(command, spec, work, *words, limit_seconds=limit, reason=Reason.IMAGE_BUILD_FAILED)
        log.info("images built", action="image_built", execution_id=spec.execution_id)
        await self._projects.remove_old_images()

    async def _compose(
        self,
        command: ComposeCommand,
        spec: ComposeSpec,
        work: Path,
        *arguments: str,
        limit_seconds: float,
        reason: Reason = Reason.START_FAILED,
    ) -> None:
        """Run Compose on the file that was made."""
        words = [*command.words, "-p", spec.project, "-f", str(work / "compose.json"), "--project-directory", str(work)]
        # The hub's variables are for secrets that name one; in the file itself nothing is left to interpolate.
        env = own_environment(self._docker_host) | dict(spec.env)
        done = await self._run([*words, *arguments], env, work, limit_seconds, reason)
        if done.code != 0:
            await self._docker.ping()  # or it is Docker that is away
            said = last_words((done.stderr or done.stdout).decode("utf-8", "replace"))
            raise CannotRun(reason, f"docker compose {arguments[0]} failed with exit code {done.code}: {said}")

    async def _run(
        self, words: list[str], env: dict[str, str], cwd: Path, limit_seconds: float, reason: Reason = Reason.COMPOSE_REFUSED
    ) -> Done:
        try:
            return await run(words, env=env, cwd=cwd, limit_seconds=limit_seconds)
        except TimeoutError as error:
            raise CannotRun(reason, f"Docker Compose did not end within {limit_seconds:g} s") from error
        except OSError as error:
            self.command = None  # it is looked for anew
            raise CannotRun(Reason.COMPOSE_UNAVAILABLE, f"Docker Compose can't be run: {error}") from error

    async def _check_sources(self, spec: ComposeSpec | ComposePlan, project: Project) -> None:
        if not spec.trusted and (wrong := await asyncio.to_thread(check_sources, project.sources, spec.folder)):
            raise refused(spec, [wrong])

    async def _inspect(self, spec: ComposeSpec, containers: list[ServiceContainer]) -> None:
        """Hold what Docker has made against the rules once more, before any of it is started."""
        if spec.trusted:
            return
        for each in containers:
            found: dict[str, Any] = await self._projects.inspect(each.id)
            if wrong := objections(found, spec):
                raise refused(spec, [f"service '{each.service}': {what}" for what in wrong])

    def _prepared(self, name: str) -> ComposeRun:
        try:
            return self._runs[name]
        except KeyError:
            raise OutOfOrder(f"project {name} was not prepared here") from None


def _fresh_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)


def _state_of(states: list[str]) -> ContainerState:
    if any(state in ("running", "paused", "restarting") for state in states):
        return ContainerState.RUNNING
    return ContainerState.CREATED if states and all(state == "created" for state in states) else ContainerState.ENDED
