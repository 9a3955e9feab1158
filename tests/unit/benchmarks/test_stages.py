"""Where an execution's time went."""

from tests.benchmarks.stages import ANSWERED, ASKED, profile, read_marks

MS = 1_000_000


def test_marks_are_read_by_execution_and_the_first_time_counts() -> None:
    lines = ["5\tone\tstarted\n", "7\ttwo\tstarted\n", "9\tone\tstarted\n"]

    assert read_marks(lines) == {"one": {"started": 5}, "two": {"started": 7}}


def test_stages_come_in_their_usual_order_with_the_time_since_the_one_before() -> None:
    marks = {name: {"started": 3 * MS, "accepted": 1 * MS} for name in ("one", "two")}
    spans = dict.fromkeys(("one", "two"), (0, 10 * MS))

    stages = profile(marks, spans)

    assert [(stage.name, stage.at_ms, stage.took_ms) for stage in stages] == [
        (ASKED, 0.0, 0.0),
        ("accepted", 1.0, 1.0),
        ("started", 3.0, 2.0),
        (ANSWERED, 10.0, 7.0),
    ]


def test_times_are_counted_from_each_ones_own_request() -> None:
    marks = {"one": {"started": 102 * MS}, "two": {"started": 1004 * MS}}

    stages = profile(marks, {"one": (100 * MS, 110 * MS), "two": (1000 * MS, 1010 * MS)})

    assert next(stage.at_ms for stage in stages if stage.name == "started") == 3.0


def test_what_few_have_passed_is_left_out() -> None:
    marks = {"one": {"rare": 1 * MS}, "two": {}, "three": {}}

    assert [stage.name for stage in profile(marks, dict.fromkeys(marks, (0, 10 * MS)))] == [ASKED, ANSWERED]
