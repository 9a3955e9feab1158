"""What a runner has made on its engine, of whatever kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from runner import labels
from runner.run_spec import container_name

#: What containers are called that wait for a job.
WAITING = "warm-"


class Kind(StrEnum):
    """In the order in which they can be removed: what is used after what uses it."""

    CONTAINER = "container"
    NETWORK = "network"
    VOLUME = "volume"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Belonging:
    """One thing on the engine that carries this runner's labels."""

    kind: Kind
    #: What the engine removes it by.
    id: str
    #: What people see; the id where it has no name.
    name: str
    #: The attempt that it was made for; ``None`` where it is for none in particular.
    owner: str | None
    labels: Mapping[str, str]
    #: Whether this very process works with it, so that it needs no other owner.
    is_in_use: bool = False


def owner_of(said: Mapping[str, str], name: str = "") -> str | None:
    """The attempt that a thing with these labels and this name is of, as its container is named; ``None`` for none."""
    if labels.WARM in said:
        # Its labels are older than its job, whose name it has since.
        return None if name.startswith(WAITING) else name
    execution_id, attempt = said.get(labels.EXECUTION_ID), said.get(labels.ATTEMPT, "1")
    return container_name(execution_id, int(attempt) if attempt.isdecimal() else 1) if execution_id else None
