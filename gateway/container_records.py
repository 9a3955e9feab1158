"""Containers as HTTP shows them: the seed's keys, and what was added to them. Pure."""

from typing import Any

from schemas.containers import Container, ContainerLog, Gathered

_NO_RUNNER = " (no runner is live)"


def active_of(gathered: Gathered[Container]) -> dict[str, Any]:
    """What ``/containers/active`` shows."""
    containers = [container.model_dump() | {"runner_id": runner_id} for runner_id, container in gathered.found]
    return _listed(gathered, containers, "")


def logs_of(image: str, gathered: Gathered[ContainerLog]) -> dict[str, Any]:
    """What ``/containers/logs/{image}`` shows."""
    containers = [
        log.model_dump() | {"logs_lines": _lines(log.stdout) + _lines(log.stderr), "runner_id": runner_id}
        for runner_id, log in gathered.found
    ]
    return {"image_name": image, **_listed(gathered, containers, f" for image: {image}")}


def _listed(gathered: Gathered[Any], containers: list[dict[str, Any]], what: str) -> dict[str, Any]:
    if containers:
        message = f"Found {len(containers)} running containers{what}"
    else:
        message = f"No running containers found{what}{'' if gathered.asked else _NO_RUNNER}"
    return {
        "total_containers": len(containers),
        "containers": containers,
        "message": message,
        "missing_runners": list(gathered.missing),
        "truncated": gathered.truncated,
    }


def _lines(text: str) -> int:
    return text.count("\n") + (text != "" and not text.endswith("\n"))
