"""What is to be installed for a program before it runs, and what names it. Pure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from runner.requirement_files import REQUIREMENTS, RequirementFiles

#: Raised whenever what is done with the same requirements changes: what was installed before is not used any more.
_RECIPE = 1

#: Names of the folders that requirements come from, as they are called where pip reads them.
WORKSPACE_FOLDER, ACTIONS_FOLDER = "workspace", "actions"

#: Variables that tell pip how to get at what it installs, beside those that begin with ``PIP_``.
_NETWORK_VARIABLES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What pip is to install, as it was read: a file that is edited meanwhile counts for the next run."""

    #: SHA-256 over all that decides what gets installed, the image aside.
    digest: str
    #: ``workspace/requirements.txt`` and so on → content.
    files: Mapping[str, bytes] = field(repr=False)
    #: Those of the files that pip is given; it finds the others by itself.
    roots: tuple[str, ...]
    #: Never shown: an index's address may hold a password.
    env: Mapping[str, str] = field(repr=False)
    #: Folders that must be there as a whole, since packages lie in them.
    whole_folders: frozenset[str] = frozenset()
    timeout_seconds: float

    @property
    def title(self) -> str:
        """What people call it."""
        return " and ".join(root.removeprefix(f"{WORKSPACE_FOLDER}/") for root in self.roots)


def requirements_of(
    program: RequirementFiles | None,
    actions: RequirementFiles | None,
    env: Mapping[str, str],
    timeout_seconds: float,
) -> Requirements | None:
    """What the program's folder and the actions ask for together; ``env`` is what the program's ``.env`` sets."""
    folders = {name: files for name, files in ((WORKSPACE_FOLDER, program), (ACTIONS_FOLDER, actions)) if files is not None}
    if not folders:
        return None
    named = frozenset[str]().union(*(files.variables for files in folders.values()))
    passed = {name: value for name, value in env.items() if name in named or _concerns_pip(name)}
    files = {f"{folder}/{path}": content for folder, found in folders.items() for path, content in found.contents.items()}
    states = {folder: found.folder_state for folder, found in folders.items() if found.folder_state is not None}
    described = [
        _RECIPE,
        sorted((path, hashlib.sha256(content).hexdigest()) for path, content in files.items()),
        sorted(passed.items()),
        sorted(states.items()),
    ]
    return Requirements(
        digest=hashlib.sha256(json.dumps(described).encode()).hexdigest(),
        files=files,
        roots=tuple(f"{folder}/{REQUIREMENTS}" for folder in folders),
        env=passed,
        whole_folders=frozenset(states),
        timeout_seconds=timeout_seconds,
    )


def _concerns_pip(name: str) -> bool:
    return name.startswith("PIP_") or name.upper() in _NETWORK_VARIABLES
