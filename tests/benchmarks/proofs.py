"""That no measured run was a trick: each in a container of its own that nobody had used, with its own exit code and output."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Told:
    """What the bus told of the start of an execution."""

    container_id: str
    #: Whether its container had been made before the execution was known; ``None`` where this version does not say.
    was_warm: bool | None


@dataclass
class Proofs:
    """What every measured run of ours has shown."""

    #: By variant: how many runs were looked at.
    runs: Counter[str] = field(default_factory=Counter)
    #: Root file systems of their containers, each of which must be seen once.
    roots: Counter[str] = field(default_factory=Counter)
    #: Execution over RabbitMQ → its variant.
    variants: dict[str, str] = field(default_factory=dict)
    #: Execution over RabbitMQ → what was told of its start.
    told: dict[str, Told] = field(default_factory=dict)
    #: What was not as it must be.
    offences: list[str] = field(default_factory=list)
    #: What was looked at beside the measured runs.
    checks: dict[str, Any] = field(default_factory=dict)

    def see(self, variant: str, record: dict[str, Any], *, is_told_of: bool = True) -> None:
        """Look at the record of one run of the measured program in a container. ``is_told_of``: the bus tells of its start."""
        self.runs[variant] += 1
        if is_told_of:
            self.variants[record["execution_id"]] = variant
        root, _, met_marker = record["output"].strip().partition(" ")
        if record["exit_code"] != 0 or met_marker not in ("True", "False"):
            self.offences.append(f"{variant}: exit code {record['exit_code']}, output {record['output'][:200]!r}")
            return
        if met_marker == "True":
            self.offences.append(f"{variant}: somebody had been in the container {root}")
        self.roots[root] += 1
        if self.roots[root] > 1:
            self.offences.append(f"{variant}: the container {root} was used before")

    def hear(self, execution_id: str, told: Told) -> None:
        """An execution was started, the bus says. It may say so twice."""
        self.told[execution_id] = told

    @property
    def are_all_told(self) -> bool:
        """Whether the bus has told of the start of every run that was looked at."""
        return self.variants.keys() <= self.told.keys()

    def compare(self) -> None:
        """Hold what was looked at against what the bus told, once all of it was told."""
        containers = {self.told[execution].container_id for execution in self.variants if execution in self.told}
        self.expect("containers of all runs, by the events on the bus", len(containers), len(self.variants))

    def warm(self) -> dict[str, tuple[int, int]]:
        """By variant: runs whose container had waited for them, and runs that were told of at all."""
        counted: dict[str, tuple[int, int]] = {}
        for execution, variant in self.variants.items():
            if (told := self.told.get(execution)) is not None and told.was_warm is not None:
                warm, runs = counted.get(variant, (0, 0))
                counted[variant] = warm + told.was_warm, runs + 1
        return counted

    def expect(self, what: str, seen: object, wanted: object) -> None:
        """Write down one check."""
        self.checks[what] = {"seen": seen, "ok": seen == wanted}
        if seen != wanted:
            self.offences.append(f"{what}: {seen!r} instead of {wanted!r}")

    def to_json(self) -> dict[str, Any]:
        """For results/bench.json."""
        return {
            "runs": dict(self.runs),
            "containers": len(self.roots),
            "warm": self.warm(),
            "offences": self.offences,
            "checks": self.checks,
        }
