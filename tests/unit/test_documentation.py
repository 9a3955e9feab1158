"""What the documents must say, and what they must not name."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_r21_the_readme_says_that_graphical_libraries_do_not_work() -> None:
    assert "graphical libraries do not work" in README


def test_b13_every_curl_of_the_readme_carries_a_token_and_uses_the_one_port() -> None:
    commands = re.findall(r"(curl -(?:.*\\\n)*.+)", README)
    assert len(commands) >= 3
    for command in commands:
        assert "http://localhost:8001/" in command
        assert "/auth/login" in command or '-H "Authorization: Bearer $TOKEN"' in command


def test_every_deliberate_difference_names_a_test_that_there_is() -> None:
    rows = re.findall(r"(?m)^\| (?!---|the seed \|).+\| `(\w+)` \|$", (ROOT / "docs" / "differences.md").read_text("utf-8"))
    assert len(rows) >= 19
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in rows if f"def {name}(" not in tests] == []
