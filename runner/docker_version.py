"""Which version of Docker answers."""

from datetime import datetime

from aiodocker.exceptions import DockerError

from runner.docker_connection import DockerConnection
from runner.docker_daemon import DockerDaemon
from runner.errors import EngineUnavailable

_PING_SECONDS = 5.0


class DockerVersion:
    """The daemon's version, asked for once in each of its lives."""

    def __init__(self, connection: DockerConnection, daemon: DockerDaemon) -> None:
        self._connection = connection
        self._daemon = daemon
        #: The version as it was told last.
        self.last = ""
        self._told_in: datetime | None = None

    async def now(self) -> str:
        """The version, if the daemon answers.

        Raises:
            EngineUnavailable: it does not, within a few seconds.
        """
        life = self._daemon.life
        # Docker runs other programs to find out their versions: that takes longer than all else here.
        version = self.last if life is not None and life == self._told_in else await self._ask()
        # One that is being stopped answers as ever on connections that it has.
        await self._daemon.see()
        if life != self._daemon.life:
            version = await self._ask()
        self.last, self._told_in = version, self._daemon.life
        return version

    async def _ask(self) -> str:
        try:
            async with self._connection.call("pinging", _PING_SECONDS) as docker:
                return str((await docker.version())["Version"])
        except DockerError as error:
            raise EngineUnavailable(f"Docker answers, but badly: {error.message}") from error
        except EngineUnavailable:
            await self._daemon.note_absence()
            raise
