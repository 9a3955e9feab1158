"""Docker's times, which have as many digits as there are needed. Pure."""


def moment(text: str) -> tuple[str, str]:
    """A time as Docker writes it, in a form that sorts: ``…:05.06Z`` comes before ``…:05.061Z``."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return seconds, fraction.ljust(9, "0")
