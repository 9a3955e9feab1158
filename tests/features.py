"""Every promise of the seed, and every fault that is withstood (tests/fault_rows.py): one row each, and the tests that show it.

A test belongs to the rows whose ids begin or end its name (``test_a1_a2_…``, ``…_r8``), or begin its docstring
(``\"\"\"A1, A2\"\"\"``).

    python -m tests.features            one line per row, from the last results; 1 where one is not shown. A row whose tests are
                                        all in a suite that was not run says which: ``make test``, for example
    python -m tests.features --write    docs/features.md and docs/faults.md anew
"""

import ast
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from tests.fault_rows import FAULTS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / ".build" / "features"
#: The suites, by the folder of their results: what ``make test`` runs, and what is too slow for it.
TEST, FULL, FAULT_SUITE = "test", "test-full", "test-faults"
_FOLDERS = {ROOT / "tests" / "full": FULL, ROOT / "tests" / "faults": FAULT_SUITE}

FEATURES = {
    "A1": "A user name and a password are made at the first start, shown once, and survive restarts; presets win",
    "A2": "POST /auth/login gives a bearer token for a day",
    "A3": "A wrong user or password is 401, in constant time, against a hash",
    "A4": "Tokens are HS256; expired, forged and unsigned ones are 401",
    "A5": "No token is 401",
    "A6": "Every route but /health and /auth/login (and pages without data) needs the token",
    "A7": "No answer and no log line shows credentials after the banner",
    "A8": "SECRET_KEY keeps tokens valid over a restart",
    "A9": "A malformed body is 422 with a list of errors; unknown fields are ignored",
    "P1": "GET / tells name, version and status",
    "P2": "GET /health is 200 with status and timestamp, without a token",
    "P3": "GET /programs lists the enabled programs with ten keys",
    "P4": "The type follows the section; disabled programs are omitted",
    "P5": "A program is named by its key or its id; statistics use the id",
    "P6": "Only path is required; a mistake names program and field",
    "P7": "A number is accepted as id; ids that are taken are refused",
    "P8": "docker_image, parameters and path_docker_compose_run are optional",
    "P9": "settings.docker_image is the default image",
    "P10": "settings.timeout_seconds is 300 by default",
    "P11": "settings.max_concurrent_executions is 5 by default",
    "P12": "memory_limit is Docker's limit, as inspect shows",
    "P13": "cpu_limit is Docker's limit, as inspect shows",
    "P14": "The seed's seven variables are honoured, in a documented order",
    "P15": "An edit of config.yaml is live within a second",
    "P16": "A broken edit keeps the last good version and is reported",
    "P17": "Empty sections are legal",
    "P18": "Relative paths lie in the project folder, absolute ones where they say",
    "P19": "Each complete YAML block of the seed's README loads as typed",
    "E1": "POST /execute answers with the id of an execution that is queued",
    "E2": "POST /executions is the same",
    "E3": "An unknown program is 404, a disabled one 400",
    "E4": "Parameters become PARAM_* variables, as JSON text where they are no strings",
    "E5": "A command on the bus leads to the same life as one over HTTP",
    "E6": "queued, running, one ending: one event each, in that order",
    "E7": "GET /executions and /executions/{id} show the seven keys; an unknown id is 404",
    "E8": "GET /executions/{id}/logs shows the ten keys; duration and line counts are right",
    "E9": "GET /executions/stats: six sorted lists whose sums are the total",
    "E10": "GET /executions/info: five keys, never below zero",
    "E11": "GET /executions/concurrent shows what runs and for how long",
    "E12": "DELETE /executions/cleanup removes finished records only; statistics survive",
    "E13": "Above the limit the oldest finished records go, never live ones",
    "E14": "stdout and stderr apart, byte by byte",
    "R1": "A fresh container for each execution, its folder at /workspace and current",
    "R2": "PROGRAM_ID and EXECUTION_ID are always set",
    "R3": ".env is loaded the same for every image; none is fine",
    "R4": "requirements.txt is installed before the run; a failure shows pip's words",
    "R5": ".py by python, .js by node, .sh by bash or sh, all else by python",
    "R6": "Configured parameters are the command line, quoting respected, no shell",
    "R7": "The same for node and bash",
    "R8": "A missing main file gives way to main.py, run.py, app.py, index.py, and the log says so",
    "R9": "None of them: failed, with the seed's message",
    "R10": "The main file of the folder runs in the program's own image",
    "R11": "An image that holds its program runs its own command",
    "R12": "A missing image is pulled within 300 s, or the seed's message says that it could not be",
    "R13": "An invalid image name is an image error, and nothing is pulled",
    "R14": "The default image is built from Dockerfile.base",
    "R15": "The container is gone after success, failure, timeout, and a crash of the runner",
    "R16": "Exit code 0 is completed, all else failed, and the code is recorded",
    "R17": "At the time limit the program ends, its container goes, its output stays",
    "R18": "Exactly as many run at once as may",
    "R19": "Above the limit executions wait, or are refused with the seed's message",
    "R20": "Parameters and command line are logged, secrets masked",
    "R21": "That graphical libraries do not work is documented",
    "R22": "The test script and the README's examples print what the README shows",
    "K1": "path_docker_compose_run runs a Compose file; docker_image and main_file are ignored",
    "K2": "It is relative to the program's path, or absolute",
    "K3": "It runs in the file's own folder",
    "K4": "PROGRAM_ID, EXECUTION_ID and PARAM_* can be used in the file",
    "K5": "down always runs",
    "K6": "The time limit ends it, and it is cleaned up",
    "K7": "It counts towards the limit",
    "K8": "All its output is captured",
    "K9": "A missing file is failed, with the seed's message",
    "K10": "A failing service fails the execution; two runs never meet",
    "C1": "GET /containers/logs/{image}: the last 100 lines of this hub's containers",
    "C2": "GET /containers/active: this hub's running containers",
    "I1": "GET /images/available: the configured images, the default one last",
    "I2": "GET /images/search/{name}: any part, any case, with slashes",
    "I3": "Registry, port, tag and digest are told apart",
    "H1": "act_before.py and act_after.py run around each program",
    "H2": "They see PROGRAM_ID, EXECUTION_ID, PARAM_*, and afterwards EXIT_CODE",
    "H3": "act_after runs after a failure too, with the true code",
    "H4": "act_before failing keeps the program from running; act_after changes nothing",
    "H5": "actions/requirements.txt is installed; without Python there are no actions",
    "H6": "What actions print is in the log, with a prefix",
    "V1": "Image errors: not found, not pulled, no valid name",
    "V2": "File errors: no main file, a bad path, missing dependencies",
    "V3": "Execution errors: the limit, the time, memory",
    "V4": "System errors: Docker away, no permission, no network",
    "O1": "docker compose up -d --build from a fresh clone ends with a working run",
    "O2": "install.sh checks, sets up, starts, tries and explains",
    "O3": "Port 8001, or API_PORT",
    "O4": "execute_bot.sh logs in, triggers, prints the id, and fails with a status",
    "O5": "The README's line for cron works",
    "O6": "Four log levels",
    "O7": "The shipped programs run",
    "O8": "An OpenAPI document and a /docs page",
    "O9": "Every curl of the README works",
    "B1": "All but two routes need a token",
    "B2": "Statistics answer",
    "B3": "Actions run",
    "B4": "Limits are Docker's",
    "B5": "The main file runs in a custom image",
    "B6": "The alternative main file is the one that runs",
    "B7": "The limit is exact, and nothing is lost above it",
    "B8": "A container is gone after a timeout and after kill -9 of the hub",
    "B9": "Running containers are listed",
    "B10": "The limit of kept records holds",
    "B11": "One command builds both images",
    "B12": "The documented grep finds the credentials",
    "B13": "Examples carry a token and one port",
    "B14": "The sums of the statistics are right",
    "B15": "Programs in several languages and small images run",
    "B16": "The test script is there",
    "B17": "Compose runs are captured and cleaned up",
    "B18": "No secret is in the log",
}

ROWS = FEATURES | FAULTS
#: Each document: what it says first, and its rows.
DOCUMENTS = {
    ROOT / "docs" / "features.md": ("Features of the seed, and the tests that show them", FEATURES),
    ROOT / "docs" / "faults.md": ("Faults, what becomes of them, and the tests that show it", FAULTS),
}

#: Rows that are only partly true so far, whatever tests they have.
IN_PART: frozenset[str] = frozenset()

#: What is said of a row that is not simply red.
PASSED = "passed"
NOT_BUILT = "not built yet"
IN_PART_ONLY = "passed, but built only in part"
ELSEWHERE = "in make"

T = TypeVar("T")

_BEGINNING = re.compile(r"test_((?:[a-z]+\d+_)+)")
_END = re.compile(r"(?:_[a-z]+\d+)+$")
_DOCSTRING = re.compile(r"((?:[A-Z]\d+)(?:, [A-Z]\d+)*)")


def rows_of(name: str, docstring: str | None) -> list[str]:
    """The ids that a test belongs to."""
    ids = match[1].strip("_").upper().split("_") if (match := _BEGINNING.match(name)) else []
    if match := _END.search(name):
        ids += match[0].strip("_").upper().split("_")
    if match := _DOCSTRING.match(docstring or ""):
        ids += match[1].split(", ")
    return [row for row in dict.fromkeys(ids) if row in ROWS]


def written_tests() -> dict[str, list[str]]:
    """Row → the tests that are written for it, by their names, in order."""
    return {row: sorted(names) for row, names in _found(lambda _, name: name).items()}


def suites() -> dict[str, set[str]]:
    """Row → the suites that have tests for it."""
    return {row: {_suite_of(path) for path in paths} for row, paths in _found(lambda path, _: path).items()}


def _suite_of(path: Path) -> str:
    return next((suite for folder, suite in _FOLDERS.items() if path.is_relative_to(folder)), TEST)


def _found(what: Callable[[Path, str], T]) -> dict[str, set[T]]:
    found: dict[str, set[T]] = {row: set() for row in ROWS}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for function in _functions(ast.parse(path.read_text(encoding="utf-8"))):
            for row in rows_of(function.name, ast.get_docstring(function)):
                found[row].add(what(path, function.name))
    return found


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def document(title: str, rows: Mapping[str, str]) -> str:
    """docs/features.md."""
    lines = [
        f"# {title}",
        "",
        "Made by `make features` from `tests/features.py`; `make test`, `make test-full` and `make test-faults` print how each"
        " row did.",
        "",
        "| id | what | tests |",
        "| --- | --- | --- |",
    ]
    written = written_tests()
    for row, what in rows.items():
        names = written[row]
        shown = " ".join(f"`{name}`" for name in names) or "not built yet"
        lines.append(f"| {row} | {what} | {shown}{' (in part)' * (row in IN_PART)} |")
    return "\n".join(lines) + "\n"


def outcomes(results: Path) -> dict[str, set[str]]:
    """Row → how its tests ended, over all sessions that left their results there."""
    found: dict[str, set[str]] = {row: set() for row in ROWS}
    for path in results.glob("*/*.json"):
        for row, how in json.loads(path.read_text(encoding="utf-8")).items():
            found[row] |= set(how)
    return found


def verdicts(how: Mapping[str, set[str]], written_in: Mapping[str, set[str]], ran: set[str]) -> dict[str, str]:
    """Row → what is said of it.

    Args:
        how: row → how its tests ended.
        written_in: row → the suites that have tests for it.
        ran: the suites that left results.
    """
    return {row: _verdict(row, how[row], written_in[row], ran) for row in ROWS}


def _verdict(row: str, how: set[str], written_in: set[str], ran: set[str]) -> str:
    if not written_in:
        return NOT_BUILT
    if how == {"passed"}:
        return IN_PART_ONLY if row in IN_PART else PASSED
    if how:
        return ", ".join(sorted(how - {"passed"}))
    return "not run" if written_in & ran else f"{ELSEWHERE} {min(written_in)}"


def main(arguments: list[str]) -> int:
    """Print the table, or write the document."""
    if arguments == ["--write"]:
        for path, (title, rows) in DOCUMENTS.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(document(title, rows), encoding="utf-8")
        return 0
    ran = {suite for suite in (TEST, FULL, FAULT_SUITE) if (RESULTS / suite).is_dir()}
    said = verdicts(outcomes(RESULTS), suites(), ran)
    for row, verdict in said.items():
        sys.stdout.write(f"{row:<7} {ROWS[row]}: {verdict}\n")
    shown = sum(verdict == PASSED for verdict in said.values())
    missing = sum(verdict in (NOT_BUILT, IN_PART_ONLY) for verdict in said.values())
    elsewhere = sum(verdict.startswith(ELSEWHERE) for verdict in said.values())
    sys.stdout.write(f"{shown} of {len(ROWS)} rows shown, {missing} not built yet, or in part")
    sys.stdout.write(f", {elsewhere} in another suite\n" if elsewhere else "\n")
    return 1 if shown + missing + elsewhere < len(ROWS) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
