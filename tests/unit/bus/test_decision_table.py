"""The first proposal decides: the table against the sentence it stands for."""

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from bus import decision_table
from bus.messages import Claim, Decision, End, Proposal

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
    database.executescript(decision_table.SCHEMA)
    try:
        for number, proposal in enumerate(order):
            decision_table.apply(database, proposal)
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
    decision_table.prepare(database)
    claims = [Claim(execution_id="a", attempt=attempt, epoch="e", nonce="n", digest="d") for attempt in (1, 2)]
    end = End(execution_id="a", reason="cancelled", requested_by="ana")
    try:
        for claim in claims:
            decision_table.apply(database, claim)
        assert decision_table.answer(database, end) is None
        decision_table.apply(database, end)
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
    decision_table.prepare(database)
    try:
        first: dict[str, End] = {}
        wanted: list[End] = []
        cancelled: dict[str, End] = {}
        for proposal in order:
            decision_table.apply(database, proposal)
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
    decision_table.prepare(database)
    claim = Claim(execution_id="a", attempt=1, epoch="e", nonce="n", digest="d")
    lost = End(execution_id="a", reason="unconfirmed")
    cancel = End(execution_id="a", reason="cancelled", requested_by="ana")
    try:
        for proposal in (claim, lost):
            decision_table.apply(database, proposal)
        assert decision_table.answer(database, lost) == claim
        assert decision_table.answer(database, cancel) is None, "it must be proposed to be heard of"
        decision_table.apply(database, cancel)
        assert decision_table.answer(database, cancel) == claim
        assert decision_table.end_of(database, "a") == cancel
        assert (decision_table.find(database, "a", 1), decision_table.find(database, "a", 2)) == (claim, lost)
        assert [decision for _, decision in decision_table.after(database, 0, 9)] == [claim, lost]
    finally:
        database.close()


def test_a_table_of_an_earlier_version_learns_to_keep_why() -> None:
    database = sqlite3.connect(":memory:")
    database.executescript(decision_table.SCHEMA.replace(" why TEXT,", ""))
    end = End(execution_id="a", reason="cancelled", why="took too long")
    try:
        for _ in range(2):
            decision_table.prepare(database)
        decision_table.apply(database, end)
        assert decision_table.end_of(database, "a") == end
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
