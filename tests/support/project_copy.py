"""A fresh clone of the project, as a newcomer has it: what is checked in, or about to be, and nothing else."""

import shutil
import subprocess
from pathlib import Path

from tests.support.hub_process import ROOT


def copy_project(folder: Path) -> Path:
    """Put it there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder
