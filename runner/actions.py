"""The actions of a project: scripts of its owner that run before and after each program, in the program's own container."""

import os
import stat
from pathlib import Path

from runner.errors import CannotRun
from runner.requirement_files import RequirementFiles, read_requirements
from runner.steps import ACTION_FILES, Step
from schemas.reasons import Reason

#: In the project's folder.
FOLDER = "actions"


def find_actions(project_dir: Path) -> frozenset[Step]:
    """Which actions there are. Blocks: call it in a thread.

    Programs can't write into the folder, so a link is the owner's own doing and followed.

    Raises:
        CannotRun: one is there and can't be looked at: an action that is silently left out could be a check that is missing.
    """
    found = set()
    for step, name in ACTION_FILES.items():
        try:
            mode = (project_dir / FOLDER / name).stat().st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CannotRun(
                Reason.ACTION_FAILED, f"'{FOLDER}/{name}' can't be used: {os.strerror(error.errno or 0)}"
            ) from error
        if stat.S_ISREG(mode):
            found.add(step)
    return frozenset(found)


def read_action_requirements(project_dir: Path) -> RequirementFiles | None:
    """What the actions ask pip for; ``None`` where that is nothing. Blocks: call it in a thread.

    Raises:
        CannotRun: requirements.txt is there and can't be read.
    """
    try:
        root = os.open(project_dir / FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None  # whether there are actions that can be used, find_actions says
    try:
        return read_requirements(root, f"'{FOLDER}'")
    finally:
        os.close(root)
