"""What the runner needs from the hub, which injects it."""

from typing import Protocol

from schemas.catalogue import Catalogue


class Catalogues(Protocol):
    """The catalogue, kept fresh by somebody else."""

    @property
    def current(self) -> Catalogue:
        """The last good catalogue. A new object after each reload that changed something."""

    async def reload(self) -> Catalogue:
        """Read config.yaml now, rather than when its change is noticed; the last good catalogue where it is broken."""
