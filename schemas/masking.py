"""What service logs may show of the parameters that people give to programs."""

import json
import re
import shlex
from collections.abc import Iterable, Sequence

MASK = "***"
#: Characters of parameter names that a log line shows.
_SHOWN_NAMES = 500

_NAMES = r"pass(?:word|wd|phrase)?|pwd|token|secret|(?:api|access|private)?[-_]?key|credentials?|auth(?:orization)?"
#: ``--db-password``, ``-token``, ``API_KEY``: a name that ends in a secret's word.
_SECRET_NAME = re.compile(rf"-{{0,2}}(?:[\w.-]*[-_.])?(?:{_NAMES})", re.IGNORECASE)
_PASSWORD_IN_ADDRESS = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]*@")


def parameters_line(configured: str | None, requested: Iterable[str]) -> str:
    """``Program parameters: …``, as people grep for it.

    Of what a request brought only names are shown: any of the values may be a secret.
    """
    shown = mask_parameters(configured) if configured else "(none)"
    return f"Program parameters: {shown}; from the request: {json.dumps(sorted(requested))[:_SHOWN_NAMES]}"


def mask_parameters(parameters: str) -> str:
    """The parameters as a log may show them: without the values of secret options, and without passwords in addresses."""
    try:
        words = shlex.split(parameters)
    except ValueError:
        # Quotes that don't match: what belongs to which option can't be told.
        return MASK
    return masked_command_line(words)


def masked_command_line(words: Sequence[str]) -> str:
    """The words as one would type them, as a log may show them."""
    return " ".join(word if MASK in word else shlex.quote(word) for word in _mask_words(words))


def _mask_words(words: Sequence[str]) -> list[str]:
    masked = []
    value_is_secret = False
    for word in words:
        name, equals, _ = word.partition("=")
        is_secret_name = _SECRET_NAME.fullmatch(name) is not None
        if equals and is_secret_name:
            masked.append(f"{name}={MASK}")
        elif value_is_secret:
            masked.append(MASK)
        else:
            masked.append(_PASSWORD_IN_ADDRESS.sub(rf"\1:{MASK}@", word))
        value_is_secret = not equals and is_secret_name and name.startswith("-")
    return masked
