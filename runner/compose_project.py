"""A Compose project that is ready to be made: its services, who needs whom, and the file that Compose is given. Pure."""

import graphlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Condition(StrEnum):
    """What must be true of a service before another one that needs it is started."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


@dataclass(frozen=True, slots=True)
class Service:
    """One service, as far as running it goes."""

    name: str
    #: The image that must be there; ``None`` where it is built.
    image: str | None
    needs: Mapping[str, Condition]
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """All that is to be run, and the document that says so to Compose."""

    services: Mapping[str, Service]
    document: Mapping[str, Any]
    #: What it binds or builds, as this process sees it: each must lie in the folder when it is used.
    sources: tuple[Path, ...] = ()
    #: What people should know.
    notes: tuple[str, ...] = ()

    @property
    def is_built(self) -> bool:
        """Whether there is an image to build."""
        return any(service.image is None for service in self.services.values())

    @property
    def is_unrecorded(self) -> bool:
        """Whether Docker keeps no record of what one of its services writes."""
        said = (service.get("logging") or {} for service in self.document.get("services", {}).values())
        return any(logging.get("driver") == "none" for logging in said)

    @property
    def last(self) -> frozenset[str]:
        """The services that no other needs: when they have ended, so has the program."""
        return frozenset(self.services) - {need for service in self.services.values() for need in service.needs}

    def stop_order(self) -> list[list[str]]:
        """The services in the order to stop them, in groups: a service after all that need it.

        Raises:
            graphlib.CycleError: they need each other in a circle.
        """
        sorter = graphlib.TopologicalSorter({name: service.needs.keys() for name, service in self.services.items()})
        sorter.prepare()
        groups = []
        while sorter.is_active():
            ready = sorter.get_ready()
            groups.append(sorted(ready))
            sorter.done(*ready)
        return groups[::-1]
