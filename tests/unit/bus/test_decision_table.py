"""The first proposal decides: the table against the sentence it stands for."""

import re
import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from bus import decision_table
from bus.messages import Claim, Decision, End, Proposal

NOW = 7

CLAIMS = st.builds(
    Claim,
    execution_id=st.sampled_from("ab"),
    attempt=st.integers(1, 3),
    epoch=st.just("e"),
    nonce=st.sampled_from("xyz"),
    digest=st.just("d"),
)
ENDS = st.builds(
    End, execution_id=st.sampled_from("ab"), reason=st.sampled_from(["cancelled", "expired"]), requested_by=st.none()
)


def by_the_sentence(order: list[Proposal], execution_id: str, attempt: int) -> Decision | None:
    """The first of the attempt's claims and the execution's ends."""
    for proposal in order:
        if proposal.execution_id == execution_id and (isinstance(proposal, End) or proposal.attempt == attempt):
            return proposal
    return None


@given(st.lists(CLAIMS | ENDS, max_size=12))
def test_the_first_of_an_attempts_claims_and_the_executions_ends_decides(order: list[Proposal]) -> None:
    database = sqlite3.connect(":memory:")
    decision_table.prepare(database, NOW)
    try:
        for number, proposal in enumerate(order):
            decision_table.apply(database, proposal, NOW)
            so_far = order[: number + 1]
            for execution_id in "ab":
                for attempt in (1, 2, 3):
                    expected = by_the_sentence(so_far, execution_id, attempt)
                    assert decision_table.find(database, execution_id, attempt) == expected
            assert decision_table.answer(database, proposal) is not None
        made = [decision for _, decision in decision_table.after(database, 0, 100)]
        assert made == [proposal for proposal in made if proposal in order]
        assert decision_table.last_sequence(database) >= len(made)
    finally:
        database.close()


def test_who_proposed_an_end_learns_of_the_claim_that_came_before_it() -> None:
    database = sqlite3.connect(":memory:")
    decision_table.prepare(database, NOW)
    claims = [Claim(execution_id="a", attempt=attempt, epoch="e", nonce="n", digest="d") for attempt in (1, 2)]
    end = End(execution_id="a", reason="cancelled", requested_by="ana")
    try:
        for claim in claims:
            decision_table.apply(database, claim, NOW)
        assert decision_table.answer(database, end) is None
        decision_table.apply(database, end, NOW)
        assert decision_table.answer(database, end) == claims[1]
        assert decision_table.find(database, "a", 3) == end
        assert decision_table.end_of(database, "a") == end
    finally:
        database.close()


@given(st.lists(CLAIMS | ENDS, max_size=12), st.integers(1, 3))
def test_the_first_end_and_the_first_cancel_of_each_execution_are_found_whether_or_not_they_decide(
    order: list[Proposal], limit: int
) -> None:
    database = sqlite3.connect(":memory:")
    decision_table.prepare(database, NOW)
    try:
        first: dict[str, End] = {}
        wanted: list[End] = []
        cancelled: dict[str, End] = {}
        for proposal in order:
            decision_table.apply(database, proposal, NOW)
            if isinstance(proposal, End):
                is_cancel = proposal.reason == "cancelled"
                is_first = first.setdefault(proposal.execution_id, proposal) is proposal
                if is_cancel:
                    is_first = cancelled.setdefault(proposal.execution_id, proposal) is proposal
                if is_first:
                    wanted.append(proposal)
        found: list[End] = []
        sequence = 0
        while batch := decision_table.ends_after(database, sequence, limit):
            sequence = batch[-1][0]
            found += [end for _, end in batch]
        assert found == wanted
        assert [decision_table.end_of(database, name) for name in "ab"] == [(first | cancelled).get(name) for name in "ab"]
    finally:
        database.close()


def test_a_cancel_after_another_kind_of_end_is_not_lost_and_changes_no_decision() -> None:
    database = sqlite3.connect(":memory:")
    decision_table.prepare(database, NOW)
    claim = Claim(execution_id="a", attempt=1, epoch="e", nonce="n", digest="d")
    lost = End(execution_id="a", reason="unconfirmed")
    cancel = End(execution_id="a", reason="cancelled", requested_by="ana")
    try:
        for proposal in (claim, lost):
            decision_table.apply(database, proposal, NOW)
        assert decision_table.answer(database, lost) == claim
        assert decision_table.answer(database, cancel) is None, "it must be proposed to be heard of"
        decision_table.apply(database, cancel, NOW)
        assert decision_table.answer(database, cancel) == claim
        assert decision_table.end_of(database, "a") == cancel
        assert (decision_table.find(database, "a", 1), decision_table.find(database, "a", 2)) == (claim, lost)
        assert [decision for _, decision in decision_table.after(database, 0, 9)] == [claim, lost]
    finally:
        database.close()


@given(st.lists(st.tuples(CLAIMS | ENDS, st.integers(0, 2)), max_size=12), st.integers(0, 25), st.integers(1, 3))
def test_a_claim_is_forgotten_once_it_was_not_told_for_long_and_an_end_never(
    order: list[tuple[Proposal, int]], before: int, limit: int
) -> None:
    database = sqlite3.connect(":memory:")
    decision_table.prepare(database, 0)
    try:
        told: dict[Decision, int] = {}
        now = 0
        for proposal, later in order:
            now += later
            decision_table.apply(database, proposal, now)
            told[proposal] = now
        made = [decision for _, decision in decision_table.after(database, 0, 99)]
        newest = decision_table.last_sequence(database)
        while forgotten := decision_table.forget(database, before, limit):
            assert forgotten <= limit
        left = [decision for _, decision in decision_table.after(database, 0, 99)]
        assert left == [each for each in made if isinstance(each, End) or told[each] >= before]
        assert decision_table.last_sequence(database) == newest, "a number is given once"
    finally:
        database.close()


def test_who_lost_a_claim_does_not_prolong_that_of_the_winner() -> None:
    database = sqlite3.connect(":memory:")
    decision_table.prepare(database, 0)
    first, second = (Claim(execution_id="a", attempt=1, epoch="e", nonce=nonce, digest="d") for nonce in "xy")
    try:
        decision_table.apply(database, first, 1)
        decision_table.apply(database, second, 5)
        assert decision_table.forget(database, 3, 9) == 1
        decision_table.apply(database, second, 6)
        assert decision_table.find(database, "a", 1) == second
    finally:
        database.close()


def test_a_table_of_an_earlier_version_learns_to_keep_why_and_when() -> None:
    database = sqlite3.connect(":memory:")
    earlier = re.sub(r" why TEXT,\n *told [^\n]*", "", decision_table.SCHEMA)
    assert "told" not in earlier
    database.executescript(earlier)
    claim = Claim(execution_id="b", attempt=1, epoch="e", nonce="n", digest="d")
    end = End(execution_id="a", reason="cancelled", why="took too long")
    try:
        database.execute("INSERT INTO decisions (execution_id, attempt, epoch, nonce, digest) VALUES ('b', 1, 'e', 'n', 'd')")
        for now in (NOW, NOW + 1):
            decision_table.prepare(database, now)
        decision_table.apply(database, end, NOW)
        assert decision_table.end_of(database, "a") == end
        assert (decision_table.forget(database, NOW, 9), decision_table.find(database, "b", 1)) == (0, claim)
        assert (decision_table.forget(database, NOW + 1, 9), decision_table.find(database, "b", 1)) == (1, None)
    finally:
        database.close()


def test_an_end_says_who_and_why_in_words() -> None:
    def told(**fields: str) -> str:
        return End(**{"execution_id": "a", "reason": "cancelled"} | fields).told

    assert told(requested_by="ana", why="took too long") == "Cancelled by ana: took too long"
    assert told(requested_by="ana") == "Cancelled by ana"
    assert told(why="took too long") == "Cancelled: took too long"
    assert told() == "Cancelled"
    assert told(reason="unconfirmed") == "Cancelled: unconfirmed"
