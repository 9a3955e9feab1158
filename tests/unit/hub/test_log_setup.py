"""Service logs (O6): JSON on a pipe or in a file, one line a record, nothing in it that could steer a terminal."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.hub_process import ROOT

LOGS = """
import logging, sys, structlog
from pathlib import Path
from hub.log_setup import set_up_logging
set_up_logging("INFO", log_file=Path(sys.argv[1]) if len(sys.argv) > 1 else None)
log = structlog.get_logger()
log.debug("hidden")
log.info("Docker command: %s", "python main.py", action="docker_command")
log.info("shown\\x1b[31m", action="test", execution_id="x\\ny")
logging.getLogger("some.library").warning("told by %s", "a library")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken", action="test_broken")
"""


def lines_of(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def check(records: list[dict[str, object]]) -> None:
    assert [record["event"] for record in records] == [
        "Docker command: python main.py",
        "shown\x1b[31m",
        "told by a library",
        "broken",
    ]
    assert records[1]["level"] == "info"
    assert records[1]["execution_id"] == "x\ny"
    assert str(records[1]["timestamp"]).endswith("Z")
    assert "ZeroDivisionError" in str(records[3]["exception"])


def test_o6_on_a_pipe_each_record_is_one_line_of_json_with_control_characters_escaped() -> None:
    ran = subprocess.run([sys.executable, "-c", LOGS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "\x1b" not in ran.stderr
    check(lines_of(ran.stderr))


def test_o6_a_log_file_takes_the_same_lines(tmp_path: Path) -> None:
    file = tmp_path / "hub.log"
    ran = subprocess.run([sys.executable, "-c", LOGS, str(file)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    check(lines_of(file.read_text(encoding="utf-8")))
