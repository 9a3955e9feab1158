"""Bytes in pieces as no decent program writes them; the same ones for the same seed, here and inside a container."""

import random

_SPECIAL = [b"\0", b"\x1b[31m\x1b[2J", b"\xe2\x82", b"\xff\xfe", b"\r\n", b"\n", "\u20ac".encode()]


def odd_pieces(seed: int) -> list[bytes]:
    """Single bytes, NULs, terminal codes, half characters, pieces around Docker's own size, and one very long line."""
    chance = random.Random(seed)
    pieces = []
    for _ in range(2000):
        kind = chance.random()
        if kind < 0.4:
            pieces.append(chance.randbytes(1))
        elif kind < 0.6:
            pieces.append(chance.choice(_SPECIAL))
        else:
            pieces.append(chance.randbytes(chance.choice((100, 16383, 16384, 16385) if kind > 0.98 else (2, 7, 63))))
    return [*pieces, b"x" * 2_000_000, b"no line break after this"]
