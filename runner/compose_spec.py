"""How one attempt of a Compose program is run, decided once and purely."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeSpec:
    """All that the Compose engine must know to run one attempt."""

    execution_id: str
    attempt: int
    #: Canonical.
    program_id: str
    #: The Compose file, absolute, as this process sees it.
    file: Path
    #: The program's folder, absolute, as this process sees it.
    folder: Path
    #: Every path beneath this folder, as this process sees it, …
    project_dir: Path
    #: … is beneath that one for the engine's host.
    host_project_dir: Path
    #: Whether the file may ask for everything.
    trusted: bool
    #: For interpolation in the file: PROGRAM_ID, EXECUTION_ID, PARAM_*. Nothing else is there to interpolate.
    env: Mapping[str, str] = field(repr=False)
    #: Of each service that says nothing itself.
    memory_bytes: int
    nano_cpus: int
    pids_limit: int
    timeout_seconds: float
    stop_grace_seconds: float
    #: Of every container, network and volume.
    labels: Mapping[str, str]

    @property
    def name(self) -> str:
        """Names the attempt towards the engine, as :attr:`runner.run_spec.RunSpec.name` does."""
        return self.execution_id if self.attempt == 1 else f"{self.execution_id}.{self.attempt}"
