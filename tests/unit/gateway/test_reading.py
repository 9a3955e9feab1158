"""GET /executions and its like: what the view shows, and what was accepted a moment ago."""

import asyncio
import base64
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bus.errors import BusUnavailable
from gateway.errors import ViewUnavailable
from schemas.executions import Execution
from schemas.ids import new_execution_id
from schemas.output import Output
from schemas.reasons import Category, Reason
from schemas.status import Status
from schemas.times import utc_now
from tests.support.gateway_fakes import USERNAME, Client, World, catalogue, program
from tests.support.wait import eventually

SEED_RECORD = {"execution_id", "program_id", "status", "start_time", "end_time", "output", "error"}
SEED_LOGS = SEED_RECORD | {"duration_seconds", "output_lines", "error_lines"}


def ended(**fields: object) -> Execution:
    now = utc_now()
    execution = Execution(
        execution_id=new_execution_id(),
        program_id="example_script",
        status=Status.FAILED,
        accepted_at=now - timedelta(seconds=5),
        started_at=now - timedelta(seconds=4),
        ended_at=now - timedelta(seconds=1.5),
        exit_code=3,
        reason=Reason.EXIT_CODE,
        category=Category.EXECUTION,
    )
    return replace(execution, **fields)  # type: ignore[arg-type]


async def test_e7_an_ended_execution_has_the_seeds_keys_and_why_it_ended(client: Client, world: World) -> None:
    execution = ended(submitted_by=USERNAME, message="Program exited with code 3")
    await world.view.put(execution, Output(stdout=b"C:\\new\r\n\xc3\xb1", stderr=b"trouble", complete=True))

    response = await client.get(f"/executions/{execution.execution_id}")

    record = await response.json()
    assert response.status == 200
    assert set(record) >= SEED_RECORD
    assert (record["status"], record["exit_code"]) == ("failed", 3)
    assert (record["reason"], record["category"]) == ("exit_code", "execution")
    assert record["output"] == "C:\\new\r\nñ"
    assert record["error"] == "trouble\nProgram exited with code 3"
    assert (record["output_encoding"], record["error_encoding"]) == ("utf-8", "utf-8")
    assert record["submitted_by"] == USERNAME
    for key in ("queued_time", "start_time", "end_time"):
        assert record[key].endswith("+00:00")


async def test_e14_bytes_that_are_not_utf_8_come_as_base64(client: Client, world: World) -> None:
    execution = ended(message="Execution exceeded time limit")
    await world.view.put(execution, Output(stdout=bytes(range(256)), stderr=b"\xff", complete=True))

    record = await (await client.get(f"/executions/{execution.execution_id}")).json()

    assert (record["output_encoding"], record["error_encoding"]) == ("base64", "base64")
    assert base64.b64decode(record["output"]) == bytes(range(256))
    assert base64.b64decode(record["error"]) == b"\xff\nExecution exceeded time limit"


async def test_output_is_null_until_the_end(client: Client, world: World) -> None:
    running = ended(status=Status.RUNNING, ended_at=None, exit_code=None, reason=None, category=None)
    await world.view.put(running, Output(stdout=b"half a li"))

    record = await (await client.get(f"/executions/{running.execution_id}")).json()

    assert record["output"] is record["error"] is record["output_encoding"] is record["exit_code"] is record["end_time"] is None


async def test_e7_an_unknown_execution_is_404_after_a_patient_look(client: Client, world: World) -> None:
    started_at = asyncio.get_running_loop().time()
    response = await client.get(f"/executions/{new_execution_id()}")

    assert (response.status, (await response.json())["detail"]) == (404, "Execution not found")
    assert 0.45 < asyncio.get_running_loop().time() - started_at < 10
    assert world.view.finds < 20


async def test_what_another_gateway_accepted_shows_up_during_the_patient_look(client: Client, world: World) -> None:
    execution = ended()
    request = asyncio.create_task(client.get(f"/executions/{execution.execution_id}"))

    async def finds() -> int:
        return world.view.finds

    await eventually(finds)
    await world.view.put(execution)

    assert (await request).status == 200


async def test_what_is_no_execution_id_is_404_without_a_question_to_the_view(client: Client, world: World) -> None:
    known = ended()
    await world.view.put(known)
    for odd in (
        "1",
        known.execution_id.upper(),
        known.execution_id.replace("-", ""),
        f"urn:uuid:{known.execution_id}",
        "'; drop table",
    ):
        response = await client.get(f"/executions/{odd}")
        assert (response.status, (await response.json())["detail"]) == (404, "Execution not found")
        assert (await client.get(f"/executions/{odd}/logs")).status == 404

    assert world.view.finds == 0


async def test_read_your_writes_by_id_and_in_the_list_before_the_view_has_them(client: Client, world: World) -> None:
    old = ended(accepted_at=utc_now() - timedelta(hours=1))
    await world.view.put(old, Output(stdout=b"old", complete=True))
    accepted = await (await client.post("/execute", json={"program_id": "billing"})).json()

    record = await (await client.get(f"/executions/{accepted['execution_id']}")).json()
    logs = await (await client.get(f"/executions/{accepted['execution_id']}/logs")).json()
    listed = await (await client.get("/executions")).json()

    assert (record["status"], record["program_id"], record["queued_time"]) == ("queued", "7", accepted["timestamp"])
    assert (logs["duration_seconds"], logs["output_lines"], logs["error_lines"]) == (None, 0, 0)
    assert [(one["execution_id"], one["output"]) for one in listed] == [
        (accepted["execution_id"], None),
        (old.execution_id, "old"),
    ]


async def test_what_the_view_shows_leaves_the_overlay(client: Client, world: World) -> None:
    accepted = await (await client.post("/execute", json={"program_id": "billing"})).json()
    await world.follow(status=Status.RUNNING, started_at=utc_now())

    record = await (await client.get(f"/executions/{accepted['execution_id']}")).json()
    listed = await (await client.get("/executions")).json()

    assert record["status"] == "running"
    assert [one["status"] for one in listed] == ["running"]
    assert len(world.overlay) == 0


async def test_the_list_has_the_newest_hundred(client: Client, world: World) -> None:
    now = utc_now()
    executions = [ended(accepted_at=now - timedelta(seconds=age)) for age in range(120, 0, -1)]
    for execution in executions:
        await world.view.put(execution)

    listed = await (await client.get("/executions")).json()

    assert [one["execution_id"] for one in listed] == [one.execution_id for one in reversed(executions)][:100]


async def test_what_the_view_shows_further_down_does_not_come_up_again_from_the_overlay(client: Client, world: World) -> None:
    accepted = await (await client.post("/execute", json={"program_id": "billing"})).json()
    now = utc_now()
    for number in range(100):
        await world.view.put(ended(accepted_at=now + timedelta(seconds=number)))

    listed = await (await client.get("/executions")).json()

    assert len(listed) == 100
    assert accepted["execution_id"] not in {one["execution_id"] for one in listed}


async def test_e8_logs_have_the_ten_keys_and_count_lines(client: Client, world: World) -> None:
    execution = ended()
    await world.view.put(execution, Output(stdout=b"one\ntwo\nthree", stderr=b"", complete=True))

    logs = await (await client.get(f"/executions/{execution.execution_id}/logs")).json()

    assert set(logs) >= SEED_LOGS
    assert (logs["output_lines"], logs["error_lines"], logs["error"]) == (3, 0, "")
    assert logs["duration_seconds"] == 2.5


async def test_e8_the_duration_of_a_running_execution_grows(client: Client, world: World) -> None:
    running = ended(status=Status.RUNNING, ended_at=None, started_at=utc_now())
    await world.view.put(running)

    async def duration() -> float:
        seconds: float = (await (await client.get(f"/executions/{running.execution_id}/logs")).json())["duration_seconds"]
        return seconds

    first = await duration()
    await eventually(duration, lambda seconds: seconds > first)


async def test_fixed_paths_win_over_the_path_of_one_execution(client: Client) -> None:
    assert "total" in await (await client.get("/executions/stats")).json()
    assert "concurrent_count" in await (await client.get("/executions/concurrent")).json()


async def test_e9_statistics_have_six_sorted_lists_that_sum_up(client: Client, world: World) -> None:
    for program_id, status, count in (
        ("b", Status.FAILED, 2),
        ("a", Status.FAILED, 2),
        ("c", Status.FAILED, 3),
        ("a", Status.RUNNING, 1),
    ):
        for _ in range(count):
            await world.view.put(ended(program_id=program_id, status=status))
    world.view.recent = 5

    stats = await (await client.get("/executions/stats")).json()

    assert set(stats) == {"total", "by_status", "recent_executions", "max_executions", "concurrent_executions"}
    assert set(stats["by_status"]) == {"completed", "failed", "timeout", "running", "queued", "cancelled"}
    assert stats["by_status"]["failed"] == [{"total": 3, "name": "c"}, {"total": 2, "name": "a"}, {"total": 2, "name": "b"}]
    assert stats["by_status"]["queued"] == []
    assert stats["total"] == sum(row["total"] for rows in stats["by_status"].values() for row in rows) == 8
    assert (stats["recent_executions"], stats["max_executions"], stats["concurrent_executions"]) == (5, 500, 1)


async def test_e11_concurrent_lists_what_runs(client: Client, world: World) -> None:
    running = ended(status=Status.RUNNING, ended_at=None)
    await world.view.put(running)
    await world.view.put(ended())

    concurrent = await (await client.get("/executions/concurrent")).json()

    [row] = concurrent.pop("running_executions")
    assert concurrent == {"concurrent_count": 1, "max_concurrent": 3}
    assert set(row) == {"execution_id", "program_id", "start_time", "duration_seconds"}
    assert row["execution_id"] == running.execution_id
    assert row["duration_seconds"] >= 4


async def test_e11_the_limit_is_the_sum_over_the_runners_that_live(client: Client, world: World) -> None:
    world.fleet.limits = {"one": 4, "two": 3}

    assert (await (await client.get("/executions/concurrent")).json())["max_concurrent"] == 7


async def test_a_view_that_is_away_is_503(client: Client, world: World) -> None:
    world.view.error = ViewUnavailable("the disk is full")

    for path in ("/executions", "/executions/stats", f"/executions/{new_execution_id()}"):
        response = await client.get(path)
        assert response.status == 503
        assert "Retry-After" in response.headers
        assert "disk" not in await response.text()


async def test_e10_info_counts_the_records_and_never_goes_below_zero(client: Client, world: World) -> None:
    for _ in range(3):
        await world.view.put(ended())
    await world.view.put(ended(status=Status.RUNNING, ended_at=None))
    expected = {"total_executions": 4, "max_executions": 500, "storage_type": "sqlite", "cleanup_enabled": True}

    assert await (await client.get("/executions/info")).json() == expected | {"available_slots": 497}

    world.catalogues.current = catalogue(program("example_script"), max_executions=2)

    info = await (await client.get("/executions/info")).json()
    assert (info["max_executions"], info["available_slots"]) == (2, 0)


async def test_e12_cleanup_says_what_it_removed_and_what_remains(client: Client, world: World) -> None:
    await world.view.put(ended())
    await world.view.put(ended(status=Status.RUNNING, ended_at=None))

    response = await client.delete("/executions/cleanup")

    assert response.status == 200
    assert await response.json() == {
        "message": "Manual cleanup completed",
        "removed_executions": 1,
        "remaining_executions": 1,
        "max_executions": 500,
    }
    assert world.cleanups.requested_by == [USERNAME]


@pytest.mark.parametrize(
    ("error", "slug"),
    [
        (TimeoutError(), "cleanup-pending"),
        (BusUnavailable("away"), "bus-unavailable"),
        (BusUnavailable("no confirm", outcome_unknown=True), "outcome-unknown"),
    ],
)
async def test_e12_a_cleanup_that_is_not_seen_to_be_done_is_503(
    client: Client, world: World, error: Exception, slug: str
) -> None:
    world.cleanups.error = error

    response = await client.delete("/executions/cleanup")

    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert (await response.json())["type"] == f"/problems/{slug}"


async def ids_of(client: Client, path: str) -> tuple[list[str], str | None]:
    """The ids on a page, and the address of the next one."""
    response = await client.get(path)
    assert response.status == 200, await response.text()
    link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("Link", ""))
    return [one["execution_id"] for one in await response.json()], link and link[1]


async def test_m32_pages_follow_each_other_without_a_gap_or_a_repeat(client: Client, world: World) -> None:
    now = utc_now()
    executions = [ended(accepted_at=now - timedelta(seconds=age)) for age in range(5)]
    for execution in executions:
        await world.view.put(execution)
    accepted = [(await (await client.post("/execute", json={"program_id": "billing"})).json())["execution_id"] for _ in "ab"]

    seen: list[str] = []
    path: str | None = "/executions?limit=3"
    sizes = []
    while path is not None:
        ids, path = await ids_of(client, path)
        sizes.append(len(ids))
        seen += ids

    assert seen == [*reversed(accepted), *(execution.execution_id for execution in executions)]
    assert sizes == [3, 3, 1]
    # The overlay fills the first page alone: the second one begins at the top of the view.
    first, path = await ids_of(client, "/executions?limit=2")
    assert first == list(reversed(accepted))
    assert path is not None
    assert (await ids_of(client, path))[0] == [execution.execution_id for execution in executions[:2]]


async def test_m32_a_list_holds_what_its_filters_want(client: Client, world: World) -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    early = ended(accepted_at=noon - timedelta(hours=1))
    late = ended(accepted_at=noon, program_id="7", status=Status.COMPLETED)
    for execution in (early, late):
        await world.view.put(execution)

    for query, expected in {
        "status=failed": [early],
        "status=timeout": [],
        "program=7": [late],
        "program=billing": [late],
        "program=nobody": [],
        "since=2026-01-31T12:00:00Z": [late],
        "until=2026-01-31T13:00:00+01:00": [early],
        "since=2026-01-31T10:00:00Z&until=2026-01-31T13:00:00Z&program=example_script": [early],
    }.items():
        assert (await ids_of(client, f"/executions?{query}"))[0] == [one.execution_id for one in expected], query


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=٣", "limit"),
        ("limit=1&limit=2", "limit"),
        ("status=done", "status"),
        ("program=", "program"),
        ("since=yesterday", "since"),
        ("until=2026-01-31T12:00:00", "until"),
        ("since=0001-01-01T00:00:00%2B23:59", "since"),
        ("cursor=%C3%B1", "cursor"),
        ("cursor=AAAA", "cursor"),
        ("cursor=OTIyMzM3MjAzNjg1NDc3NTgwOA", "cursor"),
    ],
)
async def test_m32_a_parameter_that_can_not_be_used_is_named(client: Client, query: str, name: str) -> None:
    response = await client.get(f"/executions?{query}")

    assert response.status == 422
    assert (await response.json())["errors"][0]["loc"] == ["query", name]
