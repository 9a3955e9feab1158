"""The table of features, and the document made of it."""

from tests.fault_rows import FAULTS
from tests.features import DOCUMENTS, FAULT_SUITE, FEATURES, FULL, ROWS, TEST, document, rows_of, verdicts


def test_a_test_belongs_to_the_rows_at_the_beginning_of_its_name_and_of_its_docstring() -> None:
    assert rows_of("test_p15_p16_an_edit_is_live", None) == ["P15", "P16"]
    assert rows_of("test_an_edit_is_live", "P15, P16. Words.") == ["P15", "P16"]
    assert rows_of("test_a1_is_shown", "A1: again.") == ["A1"]
    assert rows_of("test_the_first_alternative_is_run_r8_r9", None) == ["R8", "R9"]
    assert rows_of("test_fault13_t11_bus2_docker_is_restarted_m10", None) == ["FAULT13", "T11", "BUS2", "M10"]
    # Other ids have no row, and words are no ids.
    assert rows_of("test_m32_pages", "About E7.") == []


def test_the_documents_of_features_and_faults_are_up_to_date() -> None:
    for path, (title, rows) in DOCUMENTS.items():
        assert path.read_text(encoding="utf-8") == document(title, rows), "run: make features"


def test_every_row_of_the_seed_is_in_the_table() -> None:
    counts = {"A": 9, "P": 19, "E": 14, "R": 22, "K": 10, "C": 2, "I": 3, "H": 6, "V": 4, "O": 9, "B": 18}
    assert set(FEATURES) == {f"{letter}{number}" for letter, count in counts.items() for number in range(1, count + 1)}


def test_every_row_of_the_fault_catalogue_and_every_trap_is_in_the_table() -> None:
    counts = {"FAULT": 35, "BUS": 9, "T": 11}
    rows = {f"{word}{number}" for word, count in counts.items() for number in range(1, count + 1)}
    assert {row for row in FAULTS if not row.startswith("M")} == rows


def test_a_row_says_how_its_tests_ended_or_which_suite_has_them() -> None:
    def said(how: set[str], written_in: set[str], ran: set[str]) -> str:
        return verdicts(dict.fromkeys(ROWS, how), dict.fromkeys(ROWS, written_in), ran)["A1"]

    assert said({"passed"}, {TEST}, {TEST}) == "passed"
    assert said({"passed", "failed"}, {TEST, FULL}, {TEST, FULL}) == "failed"
    assert said(set(), {FULL}, {TEST}) == "in make test-full"
    assert said(set(), {FAULT_SUITE}, {TEST, FULL}) == "in make test-faults"
    assert said(set(), {TEST}, {FULL}) == "in make test"
    # Where its suite has run, nothing excuses it.
    assert said(set(), {FULL}, {TEST, FULL}) == "not run"
    assert said(set(), set(), {TEST, FULL}) == "not built yet"
