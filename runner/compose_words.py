"""What Compose says, in either version: how far it is, what it warns of, why it failed. Pure."""

import re

_WARNING = re.compile(r'level=warning msg="(?P<v2>.*)"$|^WARNING: (?P<v1>.*)$')

#: What Compose says of its progress.
_PROGRESS = re.compile(
    r"^(?:Network|Volume|Container|Service|Image) .* (?:Creat|Build|Built|Pull|Wait|Recreat)\w*$|^Creating .* \.\.\.(?: done)?$"
    r"|^Creating (?:network|volume) "
)


def last_words(text: str) -> str:
    """What it said before it failed, less progress and warnings."""
    stripped = (line.strip() for line in text.splitlines())
    lines = [line for line in stripped if line and not _WARNING.search(line) and not _PROGRESS.search(line)]
    return "\n".join(lines[-15:])[-2000:] or "it said nothing"


def warnings_in(text: str) -> list[str]:
    """What Compose says about the file, in one line each; not that a version is obsolete, which nobody needs to hear."""
    found = [match["v2"] or match["v1"] for line in text.splitlines() if (match := _WARNING.search(line.strip()))]
    return [warning.replace('\\"', '"')[:300] for warning in found if "is obsolete" not in warning][:20]
