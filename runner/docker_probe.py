"""What a container could run, found out without running anything in it."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from aiodocker.exceptions import DockerError

from runner.docker_connection import DockerConnection
from runner.errors import EngineUnavailable

#: Where Linux looks for a command when nothing says otherwise.
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Folders of a PATH that are looked into.
_MOST_FOLDERS = 32


@dataclass(frozen=True, slots=True)
class Found:
    """Which of the commands that actions need there are."""

    shell: bool
    python: bool


async def look_for_commands(connection: DockerConnection, name: str) -> Found:
    """Look for ``sh`` and ``python`` in the file system of a container, started or not.

    Raises:
        EngineUnavailable: Docker is away, or can't tell.
    """
    try:
        async with connection.call("looking into a container") as docker:
            config = (await docker.containers.container(name).show())["Config"]
    except DockerError as error:
        raise EngineUnavailable(f"Docker can't tell about {name}: {error.message}") from error
    variables = dict(variable.partition("=")[::2] for variable in config.get("Env") or ())
    folders = [folder for folder in (variables.get("PATH") or _DEFAULT_PATH).split(":") if folder.startswith("/")]
    shell = await _is_there(connection, name, folders, ("sh",))
    return Found(shell, shell and await _is_there(connection, name, folders, ("python", "python3")))


async def _is_there(connection: DockerConnection, name: str, folders: list[str], commands: tuple[str, ...]) -> bool:
    for folder in folders[:_MOST_FOLDERS]:
        for command in commands:
            async with (
                connection.call("looking into a container") as docker,
                # aiodocker has no call for this question.
                docker.session.head(
                    f"{docker.docker_host}/{docker.api_version}/containers/{name}/archive",
                    params={"path": str(PurePosixPath(folder, command))},
                ) as answer,
            ):
                if answer.status == 200:
                    return True
    return False
