"""The programs that are measured: one file, under several ids that differ by what config.yaml says of them."""

from typing import Any

from schemas.programs import Program

#: Left in a container by each run; the next one must not find it.
MARKER = "/tmp/pyexecutorhub-bench-marker"
#: Prints what its root file system lies in, which is the container's own, and whether somebody was here before;
#: then it does what the request says, which is nothing where time is measured.
JOB = f"""\
import os
with open("/proc/self/mounts") as mounts:
    root = mounts.readline().partition("upperdir=")[2].partition(",")[0]
print(root or os.uname().nodename, os.path.exists("{MARKER}"))
open("{MARKER}", "w").close()
exec(os.environ.get("PARAM_THEN", ""))
"""
COMMAND = ("python", "main.py")
IMAGE = "pyexecutorhub-base"
#: Warm containers of each program that has some.
POOL_SIZE = 8
#: Work queue of the runner without a sandbox.
SUBPROCESS_POOL = "subprocess"

#: Keys of config.yaml that not every version knows.
WARM, NETWORK, PRELOAD = "warm", "network", "preload"


def known_keys() -> frozenset[str]:
    """Which of them this version knows."""
    return frozenset({WARM, NETWORK, PRELOAD} & Program.model_fields.keys())


#: Program → what config.yaml says of it, in the words of a version that knows it all.
ENTRIES: dict[str, dict[str, Any]] = {
    "warm": {WARM: POOL_SIZE},
    "warm_none": {WARM: POOL_SIZE, NETWORK: "none"},
    "preload": {WARM: POOL_SIZE, PRELOAD: ["json"]},
    "cold": {WARM: 0},
    "cold_none": {WARM: 0, NETWORK: "none"},
    "subprocess": {WARM: 0, "pool": SUBPROCESS_POOL},
}


def lacking(program: str, known: frozenset[str]) -> str | None:
    """Why this version can't run the program as it is meant; ``None`` where it can. Zero warm ones every version has."""
    wanted = {key for key, value in ENTRIES[program].items() if key in (WARM, NETWORK, PRELOAD) and value != 0}
    unknown = sorted(wanted - known)
    return f"config.yaml knows no {' and no '.join(f'`{key}`' for key in unknown)}" if unknown else None


def entry(program: str, known: frozenset[str]) -> dict[str, Any]:
    """What config.yaml says of the program in this version."""
    ours = {WARM, NETWORK, PRELOAD}
    return {key: value for key, value in ENTRIES[program].items() if key not in ours or key in known}
