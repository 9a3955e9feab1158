"""Reading what became of executions, and removing it, on both buses."""

import pytest

from tests.support.api import Api
from tests.support.wait import eventually

pytestmark = pytest.mark.docker

INFO_KEYS = {"total_executions", "max_executions", "available_slots", "storage_type", "cleanup_enabled"}


async def test_e10_e12_a_cleanup_removes_finished_records_alone_and_statistics_survive_it(api: Api) -> None:
    await api.run("hello")
    await api.run("fails")
    sleeper = await api.submit("sleeps", seconds=3)
    await eventually(lambda: api.get(f"/executions/{sleeper}"), lambda record: record["status"] == "running", within_seconds=20)
    before = await api.get("/executions/stats")
    info = await api.get("/executions/info")
    assert set(info) == INFO_KEYS
    assert info["total_executions"] >= 3

    status, _, body = await api.call("DELETE", "/executions/cleanup")

    assert status == 200, body
    assert set(body) == {"message", "removed_executions", "remaining_executions", "max_executions"}
    assert body["message"] == "Manual cleanup completed"
    assert body["removed_executions"] >= 2
    assert [record["execution_id"] for record in await api.get("/executions")] == [sleeper]
    assert (await api.finished(sleeper))["status"] == "completed"
    after = await api.get("/executions/stats")
    assert after["total"] == before["total"]
    assert sum(row["total"] for row in after["by_status"]["failed"]) == sum(
        row["total"] for row in before["by_status"]["failed"]
    )


async def test_i1_i2_images_of_the_configuration_are_listed_and_searched(api: Api) -> None:
    listed = await api.get("/images/available")
    assert listed["images"][-1]["full_name"] == "pyexecutorhub-base"
    found = await api.get("/images/search/EXECUTORHUB-base")
    assert (found["search_term"], found["total_images"]) == ("EXECUTORHUB-base", 1)


async def test_e7_m32_the_list_is_walked_page_by_page_and_filtered(api: Api) -> None:
    made = [(await api.run("hello"))["execution_id"] for _ in range(3)]
    failed = (await api.run("fails"))["execution_id"]

    seen: list[str] = []
    path = "/executions?limit=2"
    while path:
        status, headers, body = await api.call("GET", path)
        assert status == 200
        assert len(body) <= 2
        seen += [record["execution_id"] for record in body]
        path = headers.get("Link", "").partition(">")[0].lstrip("<")

    assert seen[:4] == [failed, *reversed(made)]
    assert len(seen) == len(set(seen))
    assert failed in [record["execution_id"] for record in await api.get("/executions?status=failed&program=fails")]
    assert made[0] not in [record["execution_id"] for record in await api.get("/executions?status=failed")]


async def test_o8_the_documentation_answers_on_a_real_hub(api: Api) -> None:
    document = await api.get("/openapi.json")
    assert document["info"]["version"] == (await api.get("/"))["version"]
    assert "/executions/{execution_id}/logs" in document["paths"]
