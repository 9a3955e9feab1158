"""The errors of the hub."""

from collections.abc import Sequence

from hub.config_problems import ConfigProblem


def first_of(group: BaseExceptionGroup[Exception]) -> BaseException:
    """The first error in a group, however deep it lies."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


class HubError(Exception):
    """The hub can't do what it was asked to."""

    #: What the shell sees of it.
    exit_code = 1


class SettingsError(HubError):
    """A flag or an environment variable can't be used; the text names it."""

    exit_code = 2


#: Mistakes in config.yaml that are written out; of more than that their number is told.
MOST_PROBLEMS = 100


class ConfigError(HubError):
    """config.yaml can't be used; its text lists the mistakes, with line and column."""

    exit_code = 2

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        # /health repeats this text to everybody who asks.
        lines = [str(problem) for problem in problems[:MOST_PROBLEMS]]
        if more := len(problems) - len(lines):
            lines.append(f"… and {more} more mistakes")
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)


class BadSecretsFile(HubError):
    """The file of credentials can't be read or written, or others may read it."""

    exit_code = 2

    def __init__(self, path: object, why: str) -> None:
        super().__init__(f"{path} can't be used: {why}")


class ServiceDied(HubError):
    """A part of the hub ended although nobody asked it to; the cause is chained."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} ended unexpectedly")
        self.name = name


class RunnerInTheWay(HubError):
    """Another runner lives under the id of this one, or with a copy of its state directory."""

    def __init__(self, why: object, *, exit_code: int) -> None:
        super().__init__(str(why))
        self.exit_code = exit_code


class AlreadyRunning(HubError):
    """Another process works with the same state directory."""

    def __init__(self, path: object, pid: str) -> None:
        super().__init__(f"process {pid or '?'} holds {path}: stop it first, or set HUB_STATE_DIR to another folder")
