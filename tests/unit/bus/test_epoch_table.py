"""Fences among claims: the tables against the sentences they stand for."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import decision_table, epoch_table
from bus.errors import Fenced
from bus.messages import Claim, Decision, End, Epoch, Fence, Hello

CLAIMS = st.builds(
    Claim,
    execution_id=st.sampled_from("ab"),
    attempt=st.integers(1, 2),
    epoch=st.sampled_from(["e1", "e2"]),
    nonce=st.sampled_from("xyz"),
    digest=st.just("d"),
)
ENDS = st.builds(End, execution_id=st.sampled_from("ab"), reason=st.just("cancelled"))
FENCES = st.builds(Fence, epoch=st.sampled_from(["e1", "e2"]))
Record = Claim | End | Fence


@contextmanager
def tables(*records: Record) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(":memory:")
    try:
        decision_table.prepare(database, 0)
        for record in records:
            apply(database, record)
        yield database
    finally:
        database.close()


def apply(database: sqlite3.Connection, record: Record) -> None:
    if isinstance(record, Fence):
        epoch_table.apply(database, record)
    else:
        decision_table.apply(database, record, 0)


def claim(execution_id: str = "a", attempt: int = 1, epoch: str = "e1") -> Claim:
    return Claim(execution_id=execution_id, attempt=attempt, epoch=epoch, nonce="n", digest="d")


def valid(order: list[Record]) -> list[Claim | End]:
    """The proposals, without the claims that a fence of their epoch stands before."""
    return [
        record
        for place, record in enumerate(order)
        if not isinstance(record, Fence) and not (isinstance(record, Claim) and Fence(epoch=record.epoch) in order[:place])
    ]


def by_the_sentence(order: list[Record], execution_id: str, attempt: int) -> Decision | None:
    for proposal in valid(order):
        if proposal.execution_id == execution_id and (isinstance(proposal, End) or proposal.attempt == attempt):
            return proposal
    return None


@given(st.lists(CLAIMS | ENDS | FENCES, max_size=12))
def test_bus1_a_claim_is_void_where_a_fence_of_its_epoch_stands_before_it_and_only_there(order: list[Record]) -> None:
    with tables() as database:
        for number, record in enumerate(order):
            apply(database, record)
            so_far = order[: number + 1]
            for execution_id in "ab":
                for attempt in (1, 2):
                    assert decision_table.find(database, execution_id, attempt) == by_the_sentence(
                        so_far, execution_id, attempt
                    )
        made = [by_the_sentence(order, execution_id, attempt) for execution_id in "ab" for attempt in (1, 2)]
        newest = {each.execution_id: each for each in made if isinstance(each, Claim)}
        for epoch in ("e1", "e2"):
            found = [each for _, each in epoch_table.claims_of(database, epoch, 0, 100)]
            assert sorted(found, key=str) == sorted((each for each in newest.values() if each.epoch == epoch), key=str)
        known = {each.epoch: each.is_fenced for each in epoch_table.with_claims(database)}
        assert known == {each.epoch: Fence(epoch=each.epoch) in order for each in made if isinstance(each, Claim)}


def test_who_made_a_void_claim_is_told_so_unless_the_attempt_is_decided() -> None:
    with tables(Fence(epoch="e1"), claim()) as database:
        with pytest.raises(Fenced):
            decision_table.answer(database, claim())
        other = claim(epoch="e2")
        assert decision_table.answer(database, other) is None
        decision_table.apply(database, other, 0)
        assert decision_table.answer(database, claim()) == other


def test_what_was_claimed_before_the_fence_stays_decided() -> None:
    with tables(claim(), Fence(epoch="e1"), claim(epoch="e2")) as database:
        assert decision_table.answer(database, claim(epoch="e2")) == claim()


def test_fences_come_in_order_each_once() -> None:
    with tables(*(Fence(epoch=name) for name in ("b", "a", "b", "c"))) as database:
        assert [epoch for _, epoch in epoch_table.fences_after(database, 0, 2)] == ["b", "a"]
        number = epoch_table.fences_after(database, 0, 2)[-1][0]
        assert [epoch for _, epoch in epoch_table.fences_after(database, number, 9)] == ["c"]


def test_epochs_with_claims_are_told_with_their_runner_their_fence_and_their_newest_claim() -> None:
    with tables(claim("a"), claim("b", epoch="e2"), claim("c"), Fence(epoch="e2"), Fence(epoch="e3")) as database:
        epoch_table.apply(database, Hello(epoch="e1", process="p", runner_id="one"))
        assert epoch_table.with_claims(database) == [
            Epoch(epoch="e1", runner_id="one", is_fenced=False, last_claim=3),
            Epoch(epoch="e2", runner_id=None, is_fenced=True, last_claim=2),
        ]


def test_claims_come_in_pieces_and_without_those_that_a_later_attempt_followed() -> None:
    with tables(claim("a"), claim("b"), claim("c"), claim("b", 2, "e2"), claim("c", 2)) as database:
        assert [(each.execution_id, each.attempt) for _, each in epoch_table.claims_of(database, "e1", 0, 9)] == [
            ("a", 1),
            ("c", 2),
        ]
        (first,) = epoch_table.claims_of(database, "e1", 0, 1)
        assert [each for _, each in epoch_table.claims_of(database, "e1", first[0], 9)] == [claim("c", 2)]
