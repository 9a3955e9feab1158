"""A registry on this machine with one small image, which a test can hold in the middle of its download.

Docker talks in the clear to a registry on 127.0.0.0/8.
"""

import asyncio
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _layer() -> bytes:
    """A tar with one program that needs nothing else, and bytes that take their time."""
    binary = shutil.which("docker-init")
    assert binary is not None, "docker-init is part of the Docker engine's package"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        # Random bytes make the image one that is not here yet, and the download long enough to be seen.
        for name, content in (("tool", Path(binary).read_bytes()), ("ballast", os.urandom(2_000_000))):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


@dataclass
class Registry:
    """What was asked of it, and whether it hands out all of the layer."""

    port: int = 0
    #: Downloads of the layer that were begun.
    pulls: int = 0
    #: Cleared, a download stops half-way until it is set again; where it drips, a few bytes come all the time.
    may_finish: asyncio.Event = field(default_factory=asyncio.Event)
    drips: bool = False
    requests: Counter[str] = field(default_factory=Counter)
    _blobs: dict[str, bytes] = field(default_factory=dict)
    _manifest: bytes = b""
    _layer_digest: str = ""

    def __post_init__(self) -> None:
        self.may_finish.set()
        layer = _layer()
        packed = gzip.compress(layer, 1)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": ["/tool", "--version"]},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            }
        ).encode()
        self._layer_digest = _digest(packed)
        self._blobs = {self._layer_digest: packed, _digest(config): config}
        self._manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _described("application/vnd.docker.container.image.v1+json", config),
                "layers": [_described("application/vnd.docker.image.rootfs.diff.tar.gzip", packed)],
            }
        ).encode()

    @property
    def image(self) -> str:
        """The name of its image: a program that prints the version of a small init process."""
        return f"127.0.0.1:{self.port}/tool:1"

    async def manifest(self, request: web.Request) -> web.Response:
        """The manifest of its image; of any other the error that registries give."""
        self.requests[request.match_info["name"]] += 1
        if request.match_info["name"] == "garbage":
            return web.Response(body=b'{"schemaVersion": 2, "layers": [', headers={"Content-Type": _MANIFEST})
        if request.match_info["name"] != "tool":
            error = {"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}
            return web.json_response({"errors": [error]}, status=404)
        headers = {"Docker-Content-Digest": _digest(self._manifest), "Content-Type": _MANIFEST}
        return web.Response(body=self._manifest, headers=headers)

    async def blob(self, request: web.Request) -> web.StreamResponse:
        """A blob; the layer only up to its middle while it may not finish."""
        digest = request.match_info["digest"]
        content = self._blobs[digest]
        size = len(content)
        answer = web.StreamResponse(headers={"Content-Length": str(size)})
        await answer.prepare(request)
        if digest == self._layer_digest:
            self.pulls += 1
            # Docker looks at the clock when bytes come: all at once would show it no way between none and all.
            while not self.may_finish.is_set() and len(content) > size // 2:
                await answer.write(content[: size // 50])
                content = content[size // 50 :]
                await asyncio.sleep(0.03)
            while self.drips and not self.may_finish.is_set():
                await answer.write(content[:1])
                content = content[1:]
                await asyncio.sleep(0.1)
            await self.may_finish.wait()
        await answer.write(content)
        return answer


async def _speaks_version_two(_: web.Request) -> web.Response:
    return web.json_response({})


def _described(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "size": len(content), "digest": _digest(content)}


@asynccontextmanager
async def registry_served() -> AsyncIterator[Registry]:
    """A registry that listens."""
    registry = Registry()
    app = web.Application()
    app.router.add_get("/v2/", _speaks_version_two)
    app.router.add_get("/v2/{name:.+}/manifests/{reference}", registry.manifest)
    app.router.add_get("/v2/{name:.+}/blobs/{digest}", registry.blob)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server = site._server
    assert isinstance(server, asyncio.Server)
    registry.port = server.sockets[0].getsockname()[1]
    try:
        yield registry
    finally:
        registry.may_finish.set()
        await runner.cleanup()
