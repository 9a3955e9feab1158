"""What must be known to go on with a Compose project when the runner that started it is gone. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from runner.compose_project import Project, Service
from runner.errors import NotAdoptable


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposePlan:
    """A snapshot of what is run. The file may change meanwhile."""

    services: Mapping[str, Service]
    #: Of all containers, as people see them before their output; their order gives each its number.
    titles: tuple[str, ...]
    #: What is bound, as this process sees it: each must lie in the folder when it is used.
    sources: tuple[Path, ...]
    folder: Path
    file: Path
    trusted: bool
    stop_grace_seconds: float

    @property
    def project(self) -> Project:
        """The project, which was made already."""
        return Project(services=self.services, document={}, sources=self.sources)

    def to_text(self) -> str:
        """As it is kept."""
        return _PLAN.dump_json(self).decode()

    @classmethod
    def from_text(cls, text: str | None) -> "ComposePlan":
        """What :meth:`to_text` gave.

        Raises:
            NotAdoptable: it was given by another version, or not at all.
        """
        try:
            return _PLAN.validate_json(text or "")
        except ValidationError as error:
            raise NotAdoptable("what is known of its services is not enough to go on with them") from error


_PLAN = TypeAdapter(ComposePlan)
