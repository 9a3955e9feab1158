"""The catalogue: the validated programs and settings of one version of config.yaml."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from schemas.programs import OnLimit, Program
from schemas.retries import NEVER, Retry
from schemas.settings import ProgramSettings


@dataclass(frozen=True, slots=True)
class Catalogue:
    """An immutable snapshot; a hot reload makes a new one."""

    #: Scripts first, then bots, each in the order of config.yaml.
    programs: tuple[Program, ...]
    settings: ProgramSettings
    #: The folder of config.yaml: relative program paths and ``actions/`` lie in it.
    project_dir: Path
    _by_name: dict[str, Program] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = {program.key: program for program in self.programs}
        # An id wins over a key; the loader refuses a key that equals another program's id.
        names.update({program.id: program for program in self.programs})
        object.__setattr__(self, "_by_name", names)

    def __iter__(self) -> Iterator[Program]:
        return iter(self.programs)

    def find(self, name: str) -> Program | None:
        """The program with this ``id`` or YAML key, enabled or not."""
        return self._by_name.get(name)

    def rejects_on_limit(self, program: Program) -> bool:
        """Whether a request for ``program`` is refused rather than queued while as many executions run as may."""
        return (program.on_limit or self.settings.on_limit) is OnLimit.REJECT

    def pool_of(self, program: Program) -> str:
        """The pool whose runners run ``program``."""
        return program.pool or self.settings.pool

    def retry_of(self, name: str) -> Retry:
        """Whether what failed of the program with this ``id`` or key is tried again; never where there is none."""
        program = self.find(name)
        return NEVER if program is None else program.retry or self.settings.retry

    @property
    def pools(self) -> frozenset[str]:
        """Every pool that is named, the default one included."""
        return frozenset({self.settings.pool, *(self.pool_of(program) for program in self.programs)})
