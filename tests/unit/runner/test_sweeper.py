"""What nobody owns any more is removed, and nothing else is."""

import asyncio
from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from runner.belongings import Belonging, Kind, owner_of
from runner.claimed import Claimed
from runner.engine import ContainerState
from runner.errors import EngineUnavailable
from runner.journal import Journal
from runner.labels import ATTEMPT, EPOCH, EXECUTION_ID
from runner.sweeper import Sweeper, find_strays
from schemas.status import Status
from tests.support.runner_fixtures import Hub
from tests.support.wait import eventually
from tests.unit.runner.test_fake_engine import spec


def belonging(kind: Kind, name: str, owner: str | None = None, *, is_in_use: bool = False) -> Belonging:
    return Belonging(kind, f"id-of-{name}", name, owner, {}, is_in_use)


class Engine:
    """An engine that has these things, and may refuse to remove some."""

    def __init__(self, *belongings: Belonging) -> None:
        self.there = list(belongings)
        self.kept: set[str] = set()
        self.removed: list[str] = []
        self.away = False

    async def belongings(self) -> list[Belonging]:
        if self.away:
            raise EngineUnavailable("away")
        return list(self.there)

    async def remove(self, belonging: Belonging) -> None:
        if belonging.name in self.kept:
            raise EngineUnavailable(f"{belonging.name} is used")
        self.there.remove(belonging)
        self.removed.append(belonging.name)


async def claims() -> frozenset[str]:
    return frozenset({"claimed"})


async def nobodys(said: Mapping[str, str]) -> bool:
    """Whose epoch is another's; here the one of this name."""
    return said.get(EPOCH) == "another"


async def test_m46_what_was_made_under_another_journal_that_may_come_back_is_left_alone() -> None:
    engine = Engine(
        *(Belonging(Kind.CONTAINER, epoch, epoch, "gone", {EPOCH: epoch}) for epoch in ("another", "ours")),
    )
    assert await Sweeper(engine, claims, is_anothers=nobodys).sweep() == 1
    assert engine.removed == ["ours"]


async def test_m46_what_no_claim_owns_is_removed_and_what_is_used_after_what_uses_it() -> None:
    engine = Engine(
        belonging(Kind.VOLUME, "stray-volume", "gone"),
        belonging(Kind.IMAGE, "dangling"),
        belonging(Kind.NETWORK, "stray-network", "gone"),
        belonging(Kind.CONTAINER, "stray", "gone"),
        belonging(Kind.CONTAINER, "broken-off", None),
        belonging(Kind.CONTAINER, "pip-at-work", None, is_in_use=True),
        *(belonging(kind, f"claimed-{kind}", "claimed") for kind in Kind),
    )
    assert await Sweeper(engine, claims, is_anothers=nobodys).sweep() == 5
    assert engine.removed == ["broken-off", "stray", "stray-network", "stray-volume", "dangling"]
    assert len(engine.there) == 5


async def test_m46_what_is_made_while_it_looks_is_not_taken_for_a_stray() -> None:
    known: set[str] = set()

    class Busy(Engine):
        async def belongings(self) -> list[Belonging]:
            # As a runner does: the claim first, then the container. The claims are read when both are there.
            known.add("new")
            return [belonging(Kind.CONTAINER, "new", "new")]

    async def current() -> frozenset[str]:
        return frozenset(known)

    assert await find_strays(Busy(), current, nobodys) == []


async def test_m46_what_can_not_be_removed_now_is_tried_again_and_stops_nothing_else() -> None:
    engine = Engine(belonging(Kind.CONTAINER, "a", "gone"), belonging(Kind.NETWORK, "b", "gone"))
    engine.kept = {"a"}
    sweeper = Sweeper(engine, claims, is_anothers=nobodys)
    with capture_logs() as lines:
        assert await sweeper.sweep() == 1
    assert [line["action"] for line in lines] == ["stray_not_removed", "stray_removed", "swept"]
    engine.kept = set()
    engine.away = True
    assert await sweeper.sweep() == 0
    engine.away = False
    assert await sweeper.sweep() == 1
    assert engine.there == []


async def test_m46_a_dry_run_says_once_what_it_would_remove_and_removes_nothing() -> None:
    engine = Engine(belonging(Kind.CONTAINER, "a", "gone"))
    sweeper = Sweeper(engine, claims, is_anothers=nobodys, dry_run=True)
    with capture_logs() as lines:
        await sweeper.sweep()
        await sweeper.sweep()
    assert [(line["action"], line["kind"], line["name"]) for line in lines] == [("stray_found", "container", "a")]
    assert engine.removed == []


async def test_m46_a_runner_sweeps_from_time_to_time_and_leaves_what_it_runs(hub: Hub) -> None:
    hub.sweep_seconds = 0.05
    async with hub.runner():
        running = await hub.submit(sleep=60)
        await hub.is_running(running)
        for state in ContainerState:
            hub.fake.add_foreign(spec("late"), state)

            async def there() -> frozenset[str]:
                return hub.fake.containers

            await eventually(there, lambda seen: seen == {running})
        await asyncio.sleep(0.2)
        assert hub.fake.containers == {running}
        await hub.fake.destroy(running)


async def test_m46_what_was_taken_for_a_claim_that_is_not_written_yet_is_no_stray(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.sweep_seconds = 0.05
    hub.fake.has_warm = True
    claim, may_write = Journal.claim, asyncio.Event()

    async def held(journal: Journal, claimed: Claimed) -> bool:
        await may_write.wait()
        return await claim(journal, claimed)

    monkeypatch.setattr(Journal, "claim", held)

    async def there() -> frozenset[str]:
        return hub.fake.containers

    async with hub.runner():
        execution_id = await hub.submit()
        await eventually(there, lambda seen: seen == {execution_id})
        hub.fake.add_foreign(spec("stray"), ContainerState.ENDED)
        await eventually(there, lambda seen: "stray" not in seen)
        assert await there() == {execution_id}
        may_write.set()
        ended = await hub.ended(execution_id)
    assert (ended.status, hub.fake.starts[execution_id]) == (Status.COMPLETED, 1)


@pytest.mark.parametrize(
    ("said", "owner"),
    [
        ({}, None),
        ({EXECUTION_ID: "x"}, "x"),
        ({EXECUTION_ID: "x", ATTEMPT: "1"}, "x"),
        ({EXECUTION_ID: "x", ATTEMPT: "2"}, "x.2"),
        ({EXECUTION_ID: "x", ATTEMPT: "nonsense"}, "x"),
    ],
)
def test_m45_labels_name_the_attempt_that_something_was_made_for(said: dict[str, str], owner: str | None) -> None:
    assert owner_of(said) == owner
