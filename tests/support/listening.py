"""A listener that remembers."""

from dataclasses import dataclass, field

from runner.lines import Lines
from runner.preparation import Stage


@dataclass
class Listening:
    """What a preparation told."""

    stages: list[Stage] = field(default_factory=list)
    lines: Lines = field(default_factory=Lines)

    async def progress(self, stage: Stage) -> None:
        """It has come so far."""
        self.stages.append(stage)

    def say(self, prefix: str, said: bytes | str) -> None:
        """Somebody said something."""
        self.lines.add(prefix, said)

    @property
    def text(self) -> str:
        """All lines."""
        return self.lines.text() or ""
