"""What a runner says to its engine about what to keep warm."""

from pathlib import Path

from runner import labels
from runner.errors import NeverStarted
from runner.fake_engine import FakeEngine
from runner.warm_pool import Warm
from schemas.events import Running
from schemas.status import Status
from tests.support.runner_fixtures import Hub, make_hub, make_program
from tests.support.wait import eventually


async def told(around: Hub, expected: dict[str, int]) -> list[Warm]:
    """What the engine is told, once it is to keep so many for each program."""

    async def look() -> dict[str, int]:
        return {warm.spec.program_id: warm.count for warm in around.fake.warm}

    await eventually(look, lambda seen: seen == expected, within_seconds=20)
    return list(around.fake.warm)


async def test_programs_that_ask_for_it_are_kept_warm_as_config_yaml_says_now(tmp_path: Path) -> None:
    around = make_hub(
        tmp_path, make_program("asks", warm=3), make_program("silent"), make_program("off", warm=2, enabled=False)
    )
    async with around.runner():
        (warm,) = await told(around, {"asks": 3})
        assert warm.spec.labels[labels.PROGRAM_ID] == "asks"
        around.set_settings(memory_limit=64 * 1024**2)
        (warm,) = await told(around, {"asks": 3})

        async def limit() -> int:
            return around.fake.warm[0].spec.memory_bytes

        await eventually(limit, lambda seen: seen == 64 * 1024**2, within_seconds=20)
    # At the end nothing is wanted any more.
    assert list(around.fake.warm) == []


async def test_a_program_that_was_used_is_kept_warm_unless_it_says_no(tmp_path: Path) -> None:
    around = make_hub(tmp_path, make_program("used"), make_program("never", warm=0), make_program("asks", warm=1))
    async with around.runner():
        await told(around, {"asks": 1})
        for program in ("used", "never", "asks"):
            await around.ended(await around.submit(program))
        warm = await told(around, {"asks": 1, "used": 1})
        # What asks comes first where there is not room for all.
        assert [each.spec.program_id for each in warm] == ["asks", "used"]


async def test_a_program_that_can_not_be_planned_and_one_of_another_pool_keep_nobody_from_being_kept_warm(
    tmp_path: Path,
) -> None:
    programs = [make_program("broken", warm=1), make_program("elsewhere", warm=1, pool="gpu"), make_program("good", warm=1)]
    around = make_hub(tmp_path, *programs)
    (tmp_path / "project" / "broken" / "main.py").unlink()
    async with around.runner():
        await told(around, {"good": 1})


async def test_the_event_that_a_program_runs_says_whether_it_was_warm(tmp_path: Path) -> None:
    around = make_hub(tmp_path)
    async with around.runner():
        execution_id = await around.submit()
        await around.ended(execution_id)
    (running, _) = around.events(execution_id)
    assert isinstance(running, Running)
    assert running.was_warm is False


class ForgetfulEngine(FakeEngine):
    """What an earlier life was about to start had never begun, as it turns out."""

    async def adopt(self, name: str, *_: object) -> None:
        await self.destroy(name)
        raise NeverStarted(f"nothing had begun in container {name}")


async def test_m10_what_had_not_begun_when_its_runner_was_killed_is_started_by_the_next_life(tmp_path: Path) -> None:
    around = make_hub(tmp_path, engine=ForgetfulEngine())
    async with around.crashing_runner():
        execution_id = await around.submit(sleep="60", stdout="out")
        await around.is_running(execution_id)
    assert around.fake.starts[execution_id] == 1
    async with around.runner():

        async def starts() -> int:
            return around.fake.starts[execution_id]

        await eventually(starts, lambda seen: seen == 2)
        await around.fake.stop(execution_id, 1)
        ended = await around.ended(execution_id)
    assert ended.stdout.content == "out"
    assert [event.status for event in around.events(execution_id)] == [Status.RUNNING, Status.FAILED]
