"""That no measured run was a trick: each in a container of its own that nobody had used, with its own exit code and output."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Proofs:
    """What every measured run of ours has shown."""

    #: By variant: how many runs were looked at.
    runs: Counter[str] = field(default_factory=Counter)
    #: Root file systems of their containers, each of which must be seen once.
    roots: Counter[str] = field(default_factory=Counter)
    #: What was not as it must be.
    offences: list[str] = field(default_factory=list)
    #: What was looked at beside the measured runs.
    checks: dict[str, Any] = field(default_factory=dict)

    def see(self, variant: str, output: str, exit_code: int | None) -> None:
        """Look at one run of the measured program in a container."""
        self.runs[variant] += 1
        root, _, met_marker = output.strip().partition(" ")
        if exit_code != 0 or met_marker not in ("True", "False"):
            self.offences.append(f"{variant}: exit code {exit_code}, output {output[:200]!r}")
            return
        if met_marker == "True":
            self.offences.append(f"{variant}: somebody had been in the container {root}")
        self.roots[root] += 1
        if self.roots[root] > 1:
            self.offences.append(f"{variant}: the container {root} was used before")

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
            "offences": self.offences,
            "checks": self.checks,
        }
