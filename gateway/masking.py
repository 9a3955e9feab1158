"""Secrets in command-line parameters, made unreadable for logs."""

import re
import shlex

MASK = "***"

_NAMES = r"pass(?:word|wd|phrase)?|pwd|token|secret|(?:api|access|private)?[-_]?key|credentials?|auth(?:orization)?"
#: ``--db-password``, ``-token``, ``API_KEY``: a name that ends in a secret's word.
_SECRET_NAME = re.compile(rf"-{{0,2}}(?:[\w.-]*[-_.])?(?:{_NAMES})", re.IGNORECASE)
_PASSWORD_IN_ADDRESS = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]*@")


def mask_parameters(parameters: str) -> str:
    """The parameters as a log may show them: without the values of secret options, and without passwords in addresses."""
    try:
        words = shlex.split(parameters)
    except ValueError:
        # Quotes that don't match: what belongs to which option can't be told.
        return MASK
    return " ".join(word if MASK in word else shlex.quote(word) for word in _mask_words(words))


def _mask_words(words: list[str]) -> list[str]:
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
