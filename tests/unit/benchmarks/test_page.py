"""The page of a run."""

from pathlib import Path

from tests.benchmarks.figures import FIGURES
from tests.benchmarks.page import page
from tests.unit.benchmarks.test_report import told


def test_the_page_has_a_row_for_every_figure_measured_or_not() -> None:
    text = page(told(), [])

    for figure in FIGURES:
        assert f"| `{figure.key}`: " in text
    assert "| ≥ 1.3 | ≥ 1.6 | goal met |" in text
    assert "latency_ms/warm: config.yaml knows no `warm`" in text


def test_the_page_shows_the_pictures_that_were_drawn() -> None:
    assert "](latency.svg)" in page(told(), ["latency.svg"])
    assert "](latency.svg)" not in page(told(), [])


def test_the_page_says_what_broke_and_that_the_machine_was_busy() -> None:
    text = page(told(failures=["burst, round 1: broke"], load_average=[9.0]), [])

    assert "**Failed: burst, round 1: broke**" in text
    assert "other work" in text


def test_the_page_tells_how_a_backlog_was_borne() -> None:
    assert "| 1000 | 64.0 |" in page(told(notes={"backlog": [{"queued": 1000, "gateway_mib": 64.0}]}), [])
    assert "backlog" not in page(told(), [])


def test_the_document_names_every_figure_with_its_bar_and_goal() -> None:
    document = (Path(__file__).parents[3] / "docs" / "benchmarks" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in document.splitlines() if line.startswith("| `")]

    for figure in FIGURES:
        (row,) = [row for row in rows if f"`{figure.key}`" in row]
        assert f" {figure.bar:g}" in row.split("|")[-3]
        assert f" {figure.goal:g}" in row.split("|")[-2]
