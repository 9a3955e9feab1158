"""One mistake in config.yaml, or in a variable that stands above or below it."""

from dataclasses import dataclass

#: Longest subject and longest message, in characters.
MAX_LENGTH = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigProblem:
    """What is wrong, and where. Lines and columns count from 1."""

    message: str
    #: ``config.yaml``, or what else was read.
    source: str = "config.yaml"
    line: int | None = None
    column: int | None = None
    #: The YAML key of the program.
    program: str | None = None
    field: str | None = None

    def __str__(self) -> str:
        place = [self.source] + [str(number) for number in (self.line, self.column) if number is not None]
        subject = [f"program {self.program!r}"] if self.program is not None else []
        subject += [f"field {self.field!r}"] if self.field is not None else []
        words = [":".join(place), *([", ".join(subject)] if subject else []), self.message]
        return ": ".join(_short(word) for word in words)


def _short(text: str) -> str:
    """A message quotes what was typed, and that may be a megabyte."""
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"
