"""Which texts can be the name of an image (the grammar of Docker's references), and which two name the same."""

import re

_LONGEST_NAME = 255

_DOMAIN_PART = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
# The first part is a registry only where it looks like one.
_DOMAIN = rf"(?=[^/]*[.:]|localhost/){_DOMAIN}"
_PATH_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<name>(?:{_DOMAIN}/)?{_PATH_PART}(?:/{_PATH_PART})*)"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,128})?"
)


def is_image_name(text: str) -> bool:
    """Whether Docker would take this as the name of an image, with or without a tag or a digest."""
    match = _REFERENCE.fullmatch(text) if len(text) <= 1024 else None
    return match is not None and len(match["name"]) <= _LONGEST_NAME


def is_same_image(one: str, other: str) -> bool:
    """Whether two names are of one image as far as their texts tell: a name without a tag means ``latest``."""
    return _with_tag(one) == _with_tag(other)


def _with_tag(name: str) -> str:
    # Only behind the last slash a colon begins a tag: before it, it is a registry's port. A digest stands for a tag.
    has_tag = "@" in name or ":" in name.rpartition("/")[2]
    return name if has_tag else f"{name}:latest"


def names_registry(name: str) -> bool:
    """Whether a valid name says which registry the image comes from, as ``registry.example/team/tool`` does."""
    first, slash, _ = name.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")
