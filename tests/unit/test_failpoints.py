"""Failpoints: each has a case that a process dies at it, and they do nothing unless they are asked to."""

import ast
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.architecture import DIRECTION
from tests.faults.failpoint_cases import CASES

ROOT = Path(__file__).parents[2]


def points_in_the_source() -> Counter[str]:
    """The name of each failpoint, by how many places have it."""
    found: Counter[str] = Counter()
    for package in DIRECTION:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failpoint":
                    (name,) = node.args
                    assert isinstance(name, ast.Constant) and isinstance(name.value, str), (
                        f"{path}:{node.lineno}: a name that can't be read here"
                    )
                    found[name.value] += 1
    return found


def test_fault2_each_failpoint_of_the_source_has_a_case_in_which_a_process_dies_at_it() -> None:
    shown = frozenset[str]().union(*(case.shown for case in CASES))
    assert sorted(points_in_the_source()) == sorted(shown)


def test_fault2_a_failpoint_stands_in_one_place() -> None:
    assert {name: places for name, places in points_in_the_source().items() if places > 1} == {}


def test_fault2_the_cases_differ() -> None:
    assert [name for name, count in Counter(map(str, CASES)).items() if count > 1] == []


PASSES = """
from schemas.failpoints import failpoint
for number in range(3):
    print(number, flush=True)
    failpoint("other")
    failpoint("one")
print("done")
"""


def passes(armed: str | None) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | ({"HUB_FAILPOINT": armed} if armed is not None else {})
    done = subprocess.run([sys.executable, "-c", PASSES], env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("armed", "code", "printed"),
    [
        (None, 0, "0\n1\n2\ndone\n"),
        ("", 0, "0\n1\n2\ndone\n"),
        ("third", 0, "0\n1\n2\ndone\n"),
        ("one", -9, "0\n"),
        ("one:2", -9, "0\n1\n"),
        ("one:4", 0, "0\n1\n2\ndone\n"),
    ],
)
def test_fault2_a_process_dies_at_the_failpoint_that_is_named_and_at_no_other(
    armed: str | None, code: int, printed: str
) -> None:
    assert passes(armed) == (code, printed)


@pytest.mark.parametrize("armed", ["one:0", "one:x", "one:-1"])
def test_fault2_what_is_no_failpoint_is_refused(armed: str) -> None:
    code, printed = passes(armed)
    assert (code, printed) == (1, "")
