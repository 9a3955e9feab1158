"""The runner on a bus in memory and a fake engine: taking, claiming, running, telling."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from bus.messages import Claim, Decision, End, Proposal
from runner.identity import Identity
from schemas.catalogue import Catalogue
from schemas.events import Running
from schemas.ids import execution_id_of, new_execution_id
from schemas.reasons import Category, Reason
from schemas.settings import ProgramSettings
from schemas.status import Status
from tests.support.memory_bus import MemoryDelivery
from tests.support.runner_fixtures import Hub, make_hub, make_program
from tests.support.wait import eventually


async def settled(hub: Hub, count: int = 1) -> list[MemoryDelivery]:
    async def outcomes() -> list[MemoryDelivery]:
        return [delivery for delivery in hub.bus.commands_.deliveries if delivery.outcome is not None]

    return await eventually(outcomes, lambda deliveries: len(deliveries) >= count)


async def test_a_command_is_claimed_acknowledged_run_and_told_e5_e6(hub: Hub) -> None:
    async with hub.runner():
        execution_id = await hub.submit(stdout="hello", exit_code=0)
        ended = await hub.ended(execution_id)

    running, last = hub.events(execution_id)
    assert (running.status, last) == (Status.RUNNING, ended)
    assert (ended.status, ended.reason, ended.message) == (Status.COMPLETED, None, None)
    assert (ended.stdout.content, ended.stdout.chunks, ended.runner_id) == ("hello", 0, "test-runner")
    assert hub.chunks(execution_id) == []
    assert hub.fake.containers == frozenset()
    assert [delivery.outcome for delivery in hub.bus.commands_.deliveries] == ["done"]
    async with hub.journal() as journal:
        assert await journal.claims() == []


async def test_output_is_told_while_the_program_runs_and_before_its_end(hub: Hub) -> None:
    async with hub.runner():
        execution_id = await hub.submit(stdout="early", sleep=60)

        async def chunks() -> list[str]:
            return [chunk.content for chunk in hub.chunks(execution_id)]

        assert await eventually(chunks) == ["early"]
        assert len(hub.events(execution_id)) == 1
        await hub.fake.stop(execution_id, 1)
        ended = await hub.ended(execution_id)
    assert (ended.stdout.content, ended.stdout.chunks) == ("early", 1)


async def test_a_bare_command_with_any_message_id_runs_e5(hub: Hub) -> None:
    async with hub.runner():
        await hub.publish("order-4711", {"program_id": "example"})
        ended = await hub.ended(execution_id_of("order-4711"))
    assert ended.status is Status.COMPLETED


@pytest.mark.parametrize(("message_id", "body"), [("x", b"no json"), (None, {"program_id": "example"}), ("x", {"a": 1})])
async def test_what_is_no_command_is_dead_lettered_at_first_sight(hub: Hub, message_id: str | None, body: object) -> None:
    async with hub.runner():
        await hub.publish(message_id, body)
        (delivery,) = await settled(hub)
        assert delivery.outcome == "rejected"
        assert delivery.reason
        await hub.ended(await hub.submit())


async def test_an_unknown_program_is_looked_for_once_more_and_then_fails_e3(hub: Hub) -> None:
    async with hub.runner():
        ended = await hub.ended(await hub.submit("nobody"))
        assert hub.catalogues.reloads == 1
        odd = await hub.ended(await hub.submit("not an id"))
    assert (ended.status, ended.reason, ended.category) == (Status.FAILED, Reason.UNKNOWN_PROGRAM, Category.EXECUTION)
    assert (ended.message, ended.program_id) == ("Program with ID 'nobody' not found", "nobody")
    assert (ended.started_at, ended.exit_code) == (None, None)
    assert (odd.message, odd.program_id) == ("Program with ID 'not an id' not found", "unknown")


async def test_a_program_that_was_just_added_is_found_by_the_reload(hub: Hub) -> None:
    current = hub.catalogues.current
    (current.project_dir / "new").mkdir()
    (current.project_dir / "new" / "main.py").touch()
    hub.catalogues.after_reload = Catalogue((*current.programs, make_program("new")), current.settings, current.project_dir)
    async with hub.runner():
        ended = await hub.ended(await hub.submit("new"))
    assert ended.status is Status.COMPLETED


async def test_a_program_is_found_by_its_key_and_told_by_its_id_p5(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, make_program("billing", key="billing-key"))
    async with hub.runner():
        execution_id = await hub.submit("billing-key")
        ended = await hub.ended(execution_id)
    assert ended.program_id == "billing"


@pytest.mark.parametrize(
    ("fields", "reason", "message"),
    [
        ({"enabled": False}, Reason.DISABLED, "Program 'example' is disabled"),
        (
            {"path_docker_compose_run": "compose.yml"},
            Reason.COMPOSE_FILE_NOT_FOUND,
            None,
        ),
        ({"docker_image": "No Image"}, Reason.IMAGE_INVALID, None),
        ({"main_file": "../x"}, Reason.INVALID_PATH, None),
        ({"parameters": "'open"}, Reason.INVALID_PARAMETERS, None),
    ],
)
async def test_what_can_not_be_run_fails_with_its_reason_e3_r13(
    tmp_path: Path, fields: dict[str, object], reason: Reason, message: str | None
) -> None:
    hub = make_hub(tmp_path, make_program(**fields))  # type: ignore[arg-type]
    async with hub.runner():
        execution_id = await hub.submit()
        ended = await hub.ended(execution_id)
    assert (ended.status, ended.reason, ended.category) == (Status.FAILED, reason, reason.category)
    assert message is None or ended.message == message
    assert len(hub.events(execution_id)) == 1


async def test_r12_the_steps_of_a_preparation_are_told_in_their_order_and_its_lines_with_the_ending(hub: Hub) -> None:
    async with hub.runner():
        execution_id = await hub.submit(prepare_steps=3, stdout="out")
        ended = await hub.ended(execution_id)
    steps = hub.progress(execution_id)
    assert [(step.message, step.percent, step.program_id) for step in steps] == [
        (f"Step {number}", number, "example") for number in range(3)
    ]
    assert steps[0].happened_at < steps[1].happened_at < steps[2].happened_at
    assert (ended.lines_before, ended.stdout.content) == ("[pip] line 0\n[pip] line 1\n[pip] line 2\n", "out")


async def test_what_could_not_be_prepared_ends_with_its_lines(hub: Hub) -> None:
    async with hub.runner():
        ended = await hub.ended(await hub.submit(prepare_steps=1, prepare_error="missing_dependencies"))
    assert (ended.reason, ended.category) == (Reason.MISSING_DEPENDENCIES, Category.FILE)
    assert ended.lines_before == "[pip] line 0\n"


async def test_r8_the_file_that_runs_instead_is_named_in_a_line_before_the_output(hub: Hub) -> None:
    folder = hub.catalogues.current.project_dir / "example"
    (folder / "main.py").rename(folder / "run.py")
    async with hub.runner():
        ended = await hub.ended(await hub.submit(stdout="out"))
    assert (ended.stdout.content, ended.lines_before) == ("out", "[hub] main.py not found: running run.py\n")
    assert ended.lines_after is None


@pytest.mark.parametrize("step", ["prepare", "start"])
async def test_an_engine_that_refuses_makes_the_execution_fail_and_leaves_nothing(hub: Hub, step: str) -> None:
    async with hub.runner():
        ended = await hub.ended(await hub.submit(**{f"{step}_error": "image_not_found"}))
    assert (ended.status, ended.reason, ended.started_at) == (Status.FAILED, Reason.IMAGE_NOT_FOUND, None)
    assert hub.fake.containers == frozenset()


async def test_at_the_time_limit_a_program_is_stopped_and_its_output_kept_r17(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, make_program(timeout_seconds=0.2, stop_grace_seconds=0.1))
    async with hub.runner():
        ended = await hub.ended(await hub.submit(stdout="partial", sleep=60, ignore_sigterm=True))
    assert (ended.status, ended.exit_code, ended.message) == (Status.TIMEOUT, 137, "Execution exceeded time limit")
    assert ended.stdout.content == "partial"


@pytest.mark.parametrize("limit", [1, 5])
async def test_never_more_than_the_limit_run_r18(tmp_path: Path, limit: int) -> None:
    hub = make_hub(tmp_path, max_concurrent_executions=limit)
    async with hub.runner():
        ids = [await hub.submit(sleep=0.02) for _ in range(20)]
        endings = [await hub.ended(execution_id) for execution_id in ids]
    assert all(ended.status is Status.COMPLETED for ended in endings)
    assert hub.fake.most_running <= limit
    assert max(hub.bus.commands_.free_slots) <= limit


@pytest.mark.parametrize("limit", [1, 5])
async def test_exactly_as_many_as_the_limit_run_when_enough_wait_r18(tmp_path: Path, limit: int) -> None:
    hub = make_hub(tmp_path, max_concurrent_executions=limit)
    async with hub.runner(stop_limit_seconds=0):
        for _ in range(limit + 2):
            await hub.submit(sleep=60)

        async def running() -> int:
            return hub.fake.running

        await eventually(running, lambda count: count == limit)
    assert hub.fake.most_running == limit


async def test_a_changed_limit_is_obeyed_without_a_restart_p15(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, max_concurrent_executions=1)
    async with hub.runner(stop_limit_seconds=0):
        for _ in range(4):
            await hub.submit(sleep=60)

        async def running() -> int:
            return hub.fake.running

        await eventually(running, lambda count: count == 1)
        hub.set_settings(max_concurrent_executions=3)
        await eventually(running, lambda count: count == 3)
        hub.set_settings(max_concurrent_executions=1)
        assert hub.fake.running == 3


async def test_a_command_that_comes_again_is_acknowledged_and_run_once(hub: Hub) -> None:
    async with hub.runner():
        execution_id = new_execution_id()
        for _ in range(3):
            await hub.publish(execution_id, {"program_id": "example", "parameters": {"sleep": 0.2}})
        await settled(hub, 3)
        await hub.ended(execution_id)
        await hub.publish(execution_id, {"program_id": "example"})
        await settled(hub, 4)
        await hub.ended(await hub.submit())
    assert hub.fake.starts[execution_id] == 1
    assert len(hub.events(execution_id)) == 2
    assert {delivery.outcome for delivery in hub.bus.commands_.deliveries} == {"done"}


@pytest.mark.parametrize("decision", ["claim", "end"])
async def test_what_was_decided_otherwise_is_acknowledged_and_dropped(hub: Hub, decision: str) -> None:
    execution_id = new_execution_id()
    await hub.bus.decisions.decide(
        Claim(execution_id=execution_id, attempt=1, epoch="other", nonce="other", digest="d")
        if decision == "claim"
        else End(execution_id=execution_id, reason="cancelled")
    )
    async with hub.runner():
        await hub.publish(execution_id, {"program_id": "example"})
        (delivery,) = await settled(hub)
        assert delivery.outcome == "done"
        await hub.ended(await hub.submit())
    assert hub.events(execution_id) == []
    assert hub.fake.starts[execution_id] == 0
    async with hub.journal() as journal:
        assert await journal.claims() == []


def hold_decisions(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, set[str]]:
    """Nothing is decided until the event is set; and the executions that decisions were asked for."""
    decide, may_decide = hub.bus.decisions_.decide, asyncio.Event()
    asked: set[str] = set()

    async def held(proposal: Proposal) -> Decision:
        asked.add(proposal.execution_id)
        await may_decide.wait()
        return await decide(proposal)

    monkeypatch.setattr(hub.bus.decisions_, "decide", held)
    return may_decide, asked


async def test_what_is_kept_warm_is_taken_while_the_claim_is_decided_and_started_only_then(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fake.has_warm = True
    may_decide, _ = hold_decisions(hub, monkeypatch)
    async with hub.runner():
        execution_id = await hub.submit()
        await eventually(lambda: _is_there(hub, execution_id))
        await asyncio.sleep(0.05)
        assert hub.fake.starts[execution_id] == 0
        may_decide.set()
        await hub.ended(execution_id)
    assert hub.fake.starts[execution_id] == 1
    started = hub.events(execution_id)[0]
    assert isinstance(started, Running)
    assert started.was_warm


async def test_what_was_taken_for_a_claim_that_another_has_won_is_removed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.fake.has_warm = True
    execution_id = new_execution_id()
    decide = hub.bus.decisions_.decide
    await decide(Claim(execution_id=execution_id, attempt=1, epoch="other", nonce="other", digest="d"))

    async def late(proposal: Proposal) -> Decision:
        await eventually(lambda: _is_there(hub, execution_id))
        return await decide(proposal)

    monkeypatch.setattr(hub.bus.decisions_, "decide", late)
    async with hub.runner():
        await hub.publish(execution_id, {"program_id": "example"})
        await settled(hub)
        await eventually(lambda: _is_gone(hub, execution_id))
    assert hub.fake.starts[execution_id] == 0
    async with hub.journal() as journal:
        assert await journal.claims() == []


@pytest.mark.parametrize("slots", [2, 5])
async def test_as_many_commands_as_there_are_slots_are_claimed_at_the_same_time(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, slots: int
) -> None:
    hub.set_settings(max_concurrent_executions=slots)
    may_decide, asked = hold_decisions(hub, monkeypatch)

    async def seen() -> int:
        return len(asked)

    async with hub.runner():
        executions = [await hub.submit() for _ in range(7)]
        await eventually(seen, lambda count: count == slots)
        await asyncio.sleep(0.05)
        assert len(asked) == slots
        may_decide.set()
        endings = [await hub.ended(execution_id) for execution_id in executions]
    assert {ended.status for ended in endings} == {Status.COMPLETED}
    assert hub.fake.most_running <= slots


async def test_a_command_that_comes_again_while_it_is_claimed_is_started_once_and_keeps_what_was_taken_for_it(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fake.has_warm = True
    may_decide, _ = hold_decisions(hub, monkeypatch)
    execution_id = new_execution_id()
    async with hub.runner():
        await hub.publish(execution_id, {"program_id": "example"})
        await eventually(lambda: _is_there(hub, execution_id))
        for _ in range(3):
            await hub.publish(execution_id, {"program_id": "example"})
        await settled(hub, 3)
        assert await _is_there(hub, execution_id)
        may_decide.set()
        ended = await hub.ended(execution_id)
    assert (ended.status, hub.fake.starts[execution_id]) == (Status.COMPLETED, 1)


async def test_what_is_being_claimed_at_a_stop_is_given_back_and_run_once_by_the_next_life(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fake.has_warm = True
    with monkeypatch.context() as patched:
        hold_decisions(hub, patched)
        async with hub.runner():
            execution_id = await hub.submit()
            await eventually(lambda: _is_there(hub, execution_id))
    assert hub.fake.starts[execution_id] == 0
    async with hub.runner():
        ended = await hub.ended(execution_id)
    assert (ended.status, hub.fake.starts[execution_id]) == (Status.COMPLETED, 1)


async def _is_there(hub: Hub, execution_id: str) -> bool:
    return execution_id in hub.fake.containers


async def _is_gone(hub: Hub, execution_id: str) -> bool:
    return execution_id not in hub.fake.containers


async def test_two_runners_on_one_bus_start_each_command_once_bus1(tmp_path: Path) -> None:
    one, other = make_hub(tmp_path / "1"), make_hub(tmp_path / "2")
    other.bus, other.identity = one.bus, Identity("test-instance", "another")
    async with one.runner(), other.runner():
        ids = [new_execution_id() for _ in range(20)]
        for execution_id in ids * 2:
            await one.publish(execution_id, {"program_id": "example"})
        for execution_id in ids:
            await one.ended(execution_id)
        await settled(one, 40)
    assert [one.fake.starts[execution_id] + other.fake.starts[execution_id] for execution_id in ids] == [1] * 20


async def test_while_the_bus_is_away_programs_end_and_are_told_later_in_order_n10(hub: Hub) -> None:
    async with hub.runner():
        execution_id = await hub.submit(stdout="x", sleep=0.2)
        await hub.is_running(execution_id)
        hub.bus.away = True

        async def gone() -> bool:
            return execution_id not in hub.fake.containers

        await eventually(gone)
        assert len(hub.events(execution_id)) == 1
        hub.bus.away = False
        ended = await hub.ended(execution_id)
    assert ended.stdout.content == "x"
    assert [event.status for event in hub.events(execution_id)] == [Status.RUNNING, Status.COMPLETED]


async def test_a_decision_that_is_delayed_is_asked_for_with_the_same_nonce(hub: Hub) -> None:
    async with hub.runner():
        decide, failures = hub.bus.decisions_.decide, 3

        async def flaky(proposal: Claim | End) -> Claim | End:
            nonlocal failures
            failures -= 1
            hub.bus._away = failures > 0
            decision = None if hub.bus.away else await decide(proposal)
            hub.bus.check()
            assert decision is not None
            return decision

        hub.bus.decisions_.decide = flaky  # type: ignore[method-assign]
        execution_id = await hub.submit()
        await hub.ended(execution_id)
    assert hub.fake.starts[execution_id] == 1
    assert len(hub.bus.decisions_.proposed) == 1


async def test_while_the_engine_is_away_nothing_is_taken_and_the_problem_is_told_v4(hub: Hub) -> None:
    hub.fake.away = True
    async with hub.runner() as runner:
        execution_id = await hub.submit()

        async def problem() -> str | None:
            return runner.problem

        await eventually(problem)
        assert hub.bus.commands_.deliveries == []
        hub.fake.away = False
        await hub.ended(execution_id)
        assert runner.problem is None


async def test_a_command_that_comes_when_the_engine_has_just_gone_is_given_back(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No answer counts as one of a moment ago.
    monkeypatch.setattr("runner.engine_watch.FRESH_SECONDS", 0.0)
    async with hub.runner():
        await hub.ended(await hub.submit())
        hub.fake.away = True
        execution_id = await hub.submit()
        await settled(hub, 2)
        assert hub.bus.commands_.deliveries[1].outcome == "given back"
        assert hub.bus.commands_.times_stopped >= 1
        hub.fake.away = False
        await hub.ended(execution_id)


async def test_an_engine_that_goes_away_while_a_program_runs_holds_the_slot_until_the_program_is_gone(tmp_path: Path) -> None:
    hub = make_hub(tmp_path, make_program(timeout_seconds=0.1, stop_grace_seconds=0.1), max_concurrent_executions=1)
    async with hub.runner() as runner:
        execution_id = await hub.submit(sleep=60)
        await hub.is_running(execution_id)
        hub.fake.away = True
        await asyncio.sleep(0.3)
        assert (runner.running, len(hub.events(execution_id))) == (1, 1)
        hub.fake.away = False
        assert (await hub.ended(execution_id)).status is Status.TIMEOUT


async def test_a_stop_gives_back_what_is_not_claimed_and_lets_programs_end(hub: Hub) -> None:
    hub.set_settings(max_concurrent_executions=1)
    async with hub.runner(stop_limit_seconds=10):
        running = await hub.submit(sleep=0.3)
        await hub.is_running(running)
        waiting = await hub.submit()
    assert (await hub.ended(running)).status is Status.COMPLETED
    assert hub.fake.starts[waiting] == 0
    assert await hub.bus.commands.waiting("default") == 1


async def test_a_stop_lets_go_at_its_limit_of_what_still_runs_and_the_next_life_takes_it_up_m26(hub: Hub) -> None:
    async with hub.runner(stop_limit_seconds=0.1):
        execution_id = await hub.submit(sleep=1, stdout="some", exit_code=3)
        await hub.is_running(execution_id)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert (len(hub.events(execution_id)), hub.fake.running) == (1, 1)
    async with hub.runner():
        ended = await hub.ended(execution_id)
    assert (ended.status, ended.exit_code, ended.stdout.content) == (Status.FAILED, 3, "some")
    assert (hub.fake.starts[execution_id], hub.fake.containers) == (1, frozenset())


async def test_a_stop_while_an_image_is_fetched_leaves_the_execution_to_the_next_life(hub: Hub) -> None:
    async with hub.runner(stop_limit_seconds=10) as runner:
        execution_id = await hub.submit(prepare_seconds=0.4)

        async def running() -> int:
            return runner.running

        await eventually(running)
    assert hub.fake.starts[execution_id] == 0
    async with hub.runner():
        assert (await hub.ended(execution_id)).status is Status.COMPLETED
    assert hub.fake.starts[execution_id] == 1


async def test_a_runner_can_be_stopped_while_the_engine_has_never_answered(hub: Hub) -> None:
    hub.fake.away = True
    async with asyncio.timeout(5), hub.runner():
        await asyncio.sleep(0.05)


async def test_the_death_of_a_part_ends_the_runner_with_its_error(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    async def die(self: object) -> None:
        raise LookupError("a mistake")

    monkeypatch.setattr("runner.outbox.Outbox.run", die)
    async with hub.journal() as journal:
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(hub.make_runner(journal).run(), 5)
    assert caught.group_contains(LookupError)


async def test_a_mistake_in_one_execution_is_told_as_its_end_and_the_runner_goes_on(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: object, *arguments: object, **named: object) -> None:
        raise LookupError("a mistake")

    async with hub.runner():
        with monkeypatch.context() as patch:
            patch.setattr("runner.reports.Reports.running", die)
            execution_id = await hub.submit(sleep=60)
            ended = await hub.ended(execution_id)
        assert (ended.status, ended.reason) == (Status.FAILED, Reason.INTERNAL)
        assert hub.fake.running == 0
        assert (await hub.ended(await hub.submit())).status is Status.COMPLETED


async def test_the_log_names_parameters_and_command_without_secrets_r20(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = make_hub(tmp_path, make_program(parameters="--token canary-1 --verbose"))
    (hub.catalogues.current.project_dir / "example" / ".env").write_text("DB=canary-2")
    async with hub.runner():
        await hub.ended(await hub.submit(password="canary-3", user="ann", stdout="canary-4"))
    shown = capsys.readouterr().out
    assert 'Program parameters: --token *** --verbose; from the request: ["password", "stdout", "user"]' in shown
    assert "Docker command: pyexecutorhub-base python main.py --token *** --verbose" in shown
    assert [name for name in ("canary-1", "canary-2", "canary-3", "canary-4") if name in shown] == []


async def test_settings_are_defaults_and_the_journal_keeps_the_whole_command(hub: Hub) -> None:
    assert hub.catalogues.current.settings == ProgramSettings()
    async with hub.crashing_runner():
        execution_id = await hub.submit(sleep=60)
        await hub.is_running(execution_id)
    async with hub.journal() as journal:
        (claimed,) = await journal.claims()
    assert json.loads(claimed.command.to_bytes()) == {"program_id": "example", "parameters": {"sleep": 60}}
