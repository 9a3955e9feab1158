"""What may be shown in logs of values that people give to programs."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

MASK = "***"

_SECRET_NAME = re.compile(r"pass(word|wd|phrase)?|secret|token|credential|auth|api[_-]?key|private[_-]?key|^key$|^pwd$", re.I)
_OPTION = re.compile(r"--?([A-Za-z][\w.-]*)(=.*)?", re.S)


def masked(value: Any) -> Any:
    """A copy of a JSON value in which every member with a telling name is masked, at any depth."""
    if isinstance(value, Mapping):
        return {name: MASK if _SECRET_NAME.search(str(name)) else masked(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [masked(member) for member in value]
    return value


def masked_argv(argv: Sequence[str]) -> list[str]:
    """A copy of a command line in which the values of options with a telling name are masked."""
    shown: list[str] = []
    value_follows = False
    for argument in argv:
        option = _OPTION.fullmatch(argument)
        if value_follows and option is None:
            shown.append(MASK)
            value_follows = False
        elif option is not None and _SECRET_NAME.search(option[1]):
            shown.append(f"{argument.partition('=')[0]}={MASK}" if option[2] else argument)
            value_follows = not option[2]
        else:
            shown.append(argument)
            value_follows = False
    return shown
