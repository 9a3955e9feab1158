"""Which version this is."""

import importlib.metadata


def version() -> str:
    """Of the installed package."""
    return importlib.metadata.version("pyexecutorhub")
