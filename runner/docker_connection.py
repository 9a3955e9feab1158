"""Talking to Docker: one client, a limit on every call, and one way to say that Docker is away."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiodocker import Docker
from aiodocker.exceptions import DockerError

from runner.errors import EngineForbidden, EngineUnavailable

#: Seconds that Docker may take to answer a call that has nothing to wait for.
CALL_SECONDS = 30.0

#: What aiodocker calls a connection that could not be made.
_CANNOT_CONNECT = 900


class DockerConnection:
    """A client of the engine behind a unix socket. It connects at the first call."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._docker: Docker | None = None
        self._connector: aiohttp.UnixConnector | None = None

    @asynccontextmanager
    async def call(self, doing: str, limit_seconds: float | None = CALL_SECONDS) -> AsyncIterator[Docker]:
        """The client, for one call (or a few) within the limit. Docker's own refusals pass through as ``DockerError``.

        Raises:
            EngineForbidden: this process has no right to connect.
            EngineUnavailable: no connection, a connection that broke, or no answer in time; what was asked may have happened.
        """
        try:
            async with asyncio.timeout(limit_seconds):
                yield self._client()
        except TimeoutError as error:
            raise EngineUnavailable(f"Docker did not answer within {limit_seconds} s ({doing})") from error
        except DockerError as error:
            if error.status == _CANNOT_CONNECT:
                if _is_forbidden(error):
                    raise EngineForbidden(
                        f"this process may not use Docker's socket {self._socket_path}: "
                        "run it as root or in the group of the socket"
                    ) from error
                raise EngineUnavailable(f"Docker can't be reached ({doing}): {error.message}") from error
            raise
        except (aiohttp.ClientError, OSError) as error:
            raise EngineUnavailable(f"the connection to Docker broke ({doing}): {error or type(error).__name__}") from error

    async def close(self) -> None:
        """Disconnect. Safe to repeat; a later call connects again."""
        docker, self._docker = self._docker, None
        connector, self._connector = self._connector, None
        if docker is not None:
            await docker.close()
        if connector is not None:
            await connector.close()

    def _client(self) -> Docker:
        if self._docker is None:
            # Of our own for its limit: by default a hundred attached containers would keep every other call waiting.
            self._connector = aiohttp.UnixConnector(self._socket_path, limit=0)
            self._docker = Docker(
                url="unix://localhost",
                connector=self._connector,
                timeout=aiohttp.ClientTimeout(sock_connect=5),
            )
        return self._docker


def _is_forbidden(error: DockerError) -> bool:
    # aiodocker keeps the cause as the context alone.
    cause = error.__context__
    return isinstance(cause, aiohttp.ClientOSError) and cause.errno in (errno.EACCES, errno.EPERM)
