"""Who comes when: everybody once in each turn, in an order that is drawn anew. Pure."""

import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def turns(things: Sequence[T], count: int, seed: int) -> Iterator[list[T]]:
    """So many turns, each with all of the things in an order of its own; the same for the same seed."""
    draw = random.Random(seed)
    for _ in range(count):
        yield draw.sample(things, len(things))
