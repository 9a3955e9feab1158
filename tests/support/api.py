"""A user of the HTTP interface."""

from typing import Any

import aiohttp

from tests.support.hub_process import PASSWORD, USERNAME
from tests.support.wait import eventually

FINISHED = ("completed", "failed", "timeout", "cancelled")


class Api:
    """Calls with a token; every answer is (status, headers, body)."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def log_in(self) -> None:
        """Get a token and use it from now on."""
        status, _, body = await self.call("POST", "/auth/login", {"username": USERNAME, "password": PASSWORD})
        assert status == 200, body
        self._session.headers["Authorization"] = f"Bearer {body['access_token']}"

    async def call(self, method: str, path: str, body: object = None, **options: Any) -> tuple[int, dict[str, str], Any]:
        """One request."""
        if body is not None:
            options["json"] = body
        async with self._session.request(method, path, **options) as answer:
            return (
                answer.status,
                {str(name): value for name, value in answer.headers.items()},
                await answer.json(content_type=None),
            )

    async def get(self, path: str) -> Any:
        """The body of a request that must succeed."""
        status, _, body = await self.call("GET", path)
        assert status == 200, (status, body)
        return body

    async def submit(self, program: str, **parameters: object) -> str:
        """Ask for an execution; its id."""
        status, _, body = await self.call("POST", "/execute", {"program_id": program, "parameters": parameters})
        assert status == 202, (status, body)
        execution_id: str = body["execution_id"]
        return execution_id

    async def run(self, program: str, **parameters: object) -> dict[str, Any]:
        """Run a program and wait for its end with ``?wait``."""
        status, _, body = await self.call(
            "POST", "/execute?wait=60", {"program_id": program, "parameters": parameters}, timeout=aiohttp.ClientTimeout(90)
        )
        assert status == 200, (status, body)
        record: dict[str, Any] = body
        return record

    async def finished(self, execution_id: str, *, within_seconds: float = 60.0) -> dict[str, Any]:
        """The record of an execution once it has ended."""

        async def record() -> dict[str, Any]:
            body: dict[str, Any] = await self.get(f"/executions/{execution_id}")
            return body

        return await eventually(
            record, lambda body: body["status"] in FINISHED, within_seconds=within_seconds, every_seconds=0.1
        )
