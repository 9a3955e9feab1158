"""Containers that run, as a runner knows them and the gateway shows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Container(_Frozen):
    """A container that runs."""

    #: The first twelve characters of the engine's own id.
    container_id: str
    #: As config.yaml names it: the container itself may use one that was made from it.
    image: str
    #: For people, such as ``Up 2 minutes``.
    status: str
    name: str


class ContainerLog(_Frozen):
    """The end of what a container has written so far. Bytes that are not UTF-8 are replaced: this is for people to look at."""

    container_id: str
    stdout: str
    stderr: str
    #: Whether some of the lines that were asked for are missing, because they were too long.
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered(Generic[T]):
    """What the live runners said."""

    #: With the id of the runner that said it.
    found: Sequence[tuple[str, T]]
    #: How many were asked.
    asked: int
    #: Ids of those that gave no answer in time, or could not tell.
    missing: Sequence[str] = ()
    #: Whether there is more than fits into an answer.
    truncated: bool = False
