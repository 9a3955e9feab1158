"""What every execution of a runner works with."""

from dataclasses import dataclass, field
from pathlib import Path

from runner.engine import Engine
from runner.identity import Identity
from runner.journal import Journal
from runner.ports import Catalogues
from runner.standing import Standing
from runner.warm_pool import Demand

#: Seconds that an execution whose program was not started yet waits for Docker to come back.
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every execution of a runner works with."""

    engine: Engine
    journal: Journal
    standing: Standing
    catalogues: Catalogues
    identity: Identity
    #: The project's folder as the engine's host sees it; ``None`` where that is how this process sees it.
    host_project_dir: Path | None = None
    #: No program's folder may hold one of these.
    out_of_bounds: tuple[Path, ...] = ()
    #: A file of CA certificates that pip and programs shall trust, as this process sees it.
    ca_bundle: Path | None = None
    patience_seconds: float = _PATIENCE_SECONDS
    #: Which programs were used lately.
    demand: Demand = field(default_factory=Demand)
