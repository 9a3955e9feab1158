"""The main job, through a real hub on either bus: name a program, it runs in a fresh container, read how it went."""

import asyncio
import base64
import json
import re
from uuid import UUID

import pytest

from tests.support.api import FINISHED, Api
from tests.support.hub_process import HubProcess
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]


async def test_e1_r2_r6_a_program_runs_and_its_record_tells_all(api: Api) -> None:
    record = await api.run("hello", name="Temis")
    assert UUID(record["execution_id"])
    assert record["program_id"] == "hello"
    assert (record["status"], record["exit_code"], record["reason"]) == ("completed", 0, None)
    assert record["output"].splitlines() == [
        f"hello from hello {record['execution_id']}",
        "name is Temis and argv is ['--process', 'proceso_2', 'two words']",
    ]
    assert record["error"] == "a word on the side\n"
    assert record["start_time"] < record["end_time"]


async def test_e1_e2_an_execution_is_accepted_before_any_container_exists(api: Api) -> None:
    for path in ("/execute", "/executions"):
        status, headers, body = await api.call("POST", path, {"program_id": "hello"})
        assert status == 202
        assert headers["Location"] == f"/executions/{body['execution_id']}"
        assert body["status"] == "queued"
        assert body["message"] == "Program 'hello' queued for execution"
        assert (await api.get(headers["Location"]))["execution_id"] == body["execution_id"]
        await api.finished(body["execution_id"])


async def test_r16_a_failing_program_is_a_result_with_its_exit_code(api: Api) -> None:
    record = await api.run("fails", code=42)
    assert (record["status"], record["exit_code"], record["reason"], record["category"]) == (
        "failed",
        42,
        "exit_code",
        "execution",
    )
    assert record["output"] == "before the failure\n"


async def test_fault28_r17_a_program_that_ignores_sigterm_ends_at_its_limit_with_what_it_wrote(
    api: Api, hub: HubProcess
) -> None:
    record = await api.run("stubborn")
    assert (record["status"], record["reason"]) == ("timeout", "timeout")
    assert record["output"] == "partial output\n"
    assert "Execution exceeded time limit" in record["error"]
    await no_container_is_left(hub)


async def test_r18_r19_above_the_limit_executions_wait_and_all_complete(api: Api) -> None:
    ids = [await api.submit("sleeps", seconds=1.5) for _ in range(5)]
    most = 0
    waiting = set(ids)
    while waiting:
        concurrent = await api.get("/executions/concurrent")
        assert concurrent["max_concurrent"] == 2
        most = max(most, concurrent["concurrent_count"])
        waiting -= {record["execution_id"] for record in await api.get("/executions") if record["status"] in FINISHED}
        await asyncio.sleep(0.1)
    assert most == 2
    assert {(await api.finished(execution_id))["status"] for execution_id in ids} == {"completed"}


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("/execute", {"program_id": "nobody"}, 404, "Program with ID 'nobody' not found"),
        ("/execute", {"program_id": "off"}, 400, "Program 'off' is disabled"),
        ("/execute", {}, 422, None),
        ("/execute", {"program_id": "hello", "parameters": [1]}, 422, None),
        ("/execute", [], 422, None),
        ("/execute?wait=soon", {"program_id": "hello"}, 422, None),
    ],
)
async def test_e3_e4_a_request_that_can_not_be_met_is_refused_with_its_reason(
    api: Api, path: str, body: object, status: int, detail: str | None
) -> None:
    seen, headers, problem = await api.call("POST", path, body)
    assert seen == status
    assert headers["Content-Type"].startswith("application/problem+json")
    assert detail is None or problem["detail"] == detail


async def test_e7_an_unknown_execution_is_not_found(api: Api) -> None:
    for unknown in ("01890000-0000-7000-8000-000000000000", "nonsense"):
        status, _, problem = await api.call("GET", f"/executions/{unknown}")
        assert (status, problem["detail"]) == (404, "Execution not found")


async def test_a4_a5_a6_without_a_good_token_nothing_but_health_answers(stranger: Api) -> None:
    assert (await stranger.call("GET", "/health"))[0] == 200
    for token in (None, "Bearer nonsense", "Bearer a.b.c", "Basic dGVzdGVyOng="):
        headers = {} if token is None else {"Authorization": token}
        for method, path in (("GET", "/"), ("GET", "/programs"), ("POST", "/execute"), ("GET", "/executions/stats")):
            status, answered, _ = await stranger.call(method, path, headers=headers)
            assert status == 401
            assert answered["WWW-Authenticate"].startswith("Bearer")
    assert (await stranger.call("POST", "/auth/login", {"username": "tester", "password": "wrong"}))[0] == 401


async def test_p15_p16_a_broken_edit_keeps_the_last_good_config_and_is_reported(api: Api, hub: HubProcess) -> None:
    good = hub.config_path.read_text(encoding="utf-8")
    try:
        hub.config_path.write_text(good + "\nscripts: [", encoding="utf-8")

        async def health() -> dict[str, object]:
            body: dict[str, object] = await api.get("/health")
            return body

        sick = await eventually(health, lambda body: body["status"] == "degraded", within_seconds=20)
        # Line and column, as compilers write them.
        assert re.search(r"config\.yaml:\d+:\d+: ", json.dumps(sick))
        assert (await api.run("backslash"))["status"] == "completed"
    finally:
        hub.config_path.write_text(good, encoding="utf-8")
    await eventually(health, lambda body: body["status"] == "healthy", within_seconds=20)
    hub.write_program("new", "print('new here')")

    async def programs() -> list[str]:
        return [program["id"] for program in await api.get("/programs")]

    await eventually(programs, lambda ids: "new" in ids, within_seconds=20)
    # The runner of a fleet reads the file on its own: it looks again before it says unknown.
    assert (await api.run("new"))["output"] == "new here\n"


async def test_fault20_e14_no_byte_is_changed_or_lost(api: Api) -> None:
    record = await api.run("bytes")
    assert record["output_encoding"] == "base64"
    assert base64.b64decode(record["output"]) == bytes(range(256)) * 3
    assert base64.b64decode(record["error"]) == b"\xff\xfe\x00"
    assert (await api.run("backslash"))["output"] == "C:\\new\\table\n"


async def test_fault20_what_steers_a_terminal_is_kept_in_the_record_and_is_in_no_log_of_the_hub(
    api: Api, hub: HubProcess
) -> None:
    record = await api.run("steers", word="\x1b[2J\n\x1b[31mfake line of a log")
    assert record["output"] == "\x1b[2J\x1b]0;title\x07\0 steered\n"
    assert record["error"].startswith("\x1b[31mfailed\n")
    assert "\x1b" not in hub.log()
    assert "\n\x1b" not in hub.log()
    assert not any(line.startswith("fake line") for line in hub.log().splitlines())


async def test_e14_five_mebibytes_arrive_whole(api: Api) -> None:
    size = 5 * 1024**2
    record = await api.run("big", size=size)
    block = bytes(range(32, 127)) * 100
    assert record["output"].encode() == (block * (size // len(block) + 1))[:size]


async def test_e8_the_logs_count_lines_and_seconds(api: Api) -> None:
    execution_id = await api.submit("sleeps", seconds=1)
    await api.finished(execution_id)
    logs = await api.get(f"/executions/{execution_id}/logs")
    assert set(logs) >= {
        *("execution_id", "program_id", "status", "start_time", "end_time"),
        *("duration_seconds", "output", "error", "output_lines", "error_lines"),
    }
    assert logs["duration_seconds"] >= 1
    assert (logs["output_lines"], logs["error_lines"]) == (0, 0)


async def test_e9_b2_b14_the_sums_of_the_statistics_equal_the_total(api: Api) -> None:
    await api.run("backslash")
    await api.run("fails")
    stats = await api.get("/executions/stats")
    assert set(stats["by_status"]) == {"completed", "failed", "timeout", "cancelled", "running", "queued"}
    assert sum(entry["total"] for entries in stats["by_status"].values() for entry in entries) == stats["total"] > 1
    for entries in stats["by_status"].values():
        assert entries == sorted(entries, key=lambda entry: (-entry["total"], entry["name"]))


async def test_p12_p13_b4_m13_docker_applies_the_limits_and_takes_away_the_rest(api: Api, hub: HubProcess) -> None:
    execution_id = await api.submit("sleeps", seconds=3)

    async def running() -> list[str]:
        return [entry["execution_id"] for entry in (await api.get("/executions/concurrent"))["running_executions"]]

    await eventually(running, lambda ids: execution_id in ids)
    inspected = await asyncio.to_thread(hub.inspect, execution_id)
    host = inspected["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (64 * 1024**2, 64 * 1024**2, 500_000_000)
    assert host["PidsLimit"] == 256
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges" in ",".join(host["SecurityOpt"])
    assert host["AutoRemove"] is False
    assert inspected["Config"]["Labels"]["io.pyexecutorhub.execution-id"] == execution_id
    await api.finished(execution_id)


async def test_r15_no_container_is_left_behind(api: Api, hub: HubProcess) -> None:
    await api.run("hello")
    await api.run("fails")
    await no_container_is_left(hub)


async def no_container_is_left(hub: HubProcess) -> None:
    async def containers() -> list[str]:
        return await asyncio.to_thread(hub.containers)

    await eventually(containers, lambda ids: not ids, within_seconds=15)


async def test_r20_b18_parameters_and_command_line_are_logged_and_no_secret_is(api: Api, hub: HubProcess) -> None:
    (hub.folder / "scripts" / "hello" / ".env").write_text("DB_PASS=from-the-env-file\n", encoding="utf-8")
    await api.run("hello", name="Temis", password="from-the-request")
    log = hub.log()
    assert "Program parameters: --process proceso_2" in log
    assert re.search(r"Docker command: pyexecutorhub-base python main.py --process proceso_2 'two words'", log)
    assert "from-the-env-file" not in log
    assert "from-the-request" not in log
