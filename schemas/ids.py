"""Identifiers: which ones are allowed, and how new ones are made."""

import re
from typing import Annotated
from uuid import UUID, uuid5

from pydantic import BeforeValidator, StringConstraints
from uuid_utils.compat import uuid7

#: Ids are one word of a routing key, an environment value and a part of an address: letters, digits, ``_`` and ``-``.
PROGRAM_ID_PATTERN = r"^[A-Za-z0-9_-]{1,128}$"
_PROGRAM_ID = re.compile(PROGRAM_ID_PATTERN)
#: Stands for a program whose name can be no id.
UNKNOWN_PROGRAM = "unknown"

#: Namespace under which a message id that is no UUID becomes one. Never changes: the same text must give the same execution.
_FOREIGN_MESSAGE_IDS = UUID("6a1f8f0e-4f0c-5f0a-9d53-0a4b6c1f7e11")


def _int_to_text(value: object) -> object:
    # YAML reads an unquoted ``id: 7`` as a number; a bool is an int to Python, and surely a mistake here.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


ProgramId = Annotated[str, BeforeValidator(_int_to_text), StringConstraints(pattern=PROGRAM_ID_PATTERN)]


def is_program_id(text: str) -> bool:
    """Whether ``text`` may name a program."""
    # fullmatch: for match alone, "$" would let a line break at the end pass.
    return _PROGRAM_ID.fullmatch(text) is not None


def routable_program_id(text: str) -> str:
    """``text`` where it may name a program, else ``unknown``: events need a key even where a command names nonsense."""
    return text if is_program_id(text) else UNKNOWN_PROGRAM


def new_execution_id() -> str:
    """A new execution id: a UUID of version 7, so that ids sort by the time they were made."""
    return str(uuid7())


def execution_id_of(message_id: str) -> str:
    """The execution id that a message id stands for: the UUID itself in canonical form, or one derived from any other text.

    The same text always gives the same id, so a publisher that repeats itself is recognised.
    """
    try:
        return str(UUID(message_id))
    except ValueError:
        return str(uuid5(_FOREIGN_MESSAGE_IDS, message_id))


def is_execution_id(text: str) -> bool:
    """Whether ``text`` is an execution id in canonical form (lower case, with hyphens)."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
