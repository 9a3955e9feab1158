"""Text of strangers, made safe to show to people."""


def printable(text: str) -> str:
    """``text`` on one line, with everything that a terminal might act on written as an escape."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
