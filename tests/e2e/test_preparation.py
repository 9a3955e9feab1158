"""What happens before a program starts: its image is pulled, its requirements are installed, and those who wait are told."""

import asyncio
import json
from typing import Any

import aio_pika
import aiohttp
import pytest

from tests.e2e.conftest import HubMaker, user_of
from tests.support.api import Api
from tests.support.docker import containers, docker
from tests.support.hub_process import HubProcess
from tests.support.registry import registry_served
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker]

SIX = "import six; print('six', six.__version__)\n"
#: A package of the program's own whose installation goes on while there is a file ``hold`` beside it.
SLOW = """\
import os, time
while os.path.exists("hold"):
    time.sleep(0.1)
from setuptools import setup
setup(name="slow", version="1", py_modules=[])
"""


def write_requirements(hub: HubProcess, program: str, text: str) -> None:
    (hub.folder / "scripts" / program / "requirements.txt").write_text(text, encoding="utf-8")


async def known(api: Api, program: str) -> None:
    """Wait until the hub has read its config again."""

    async def ids() -> list[str]:
        return [entry["id"] for entry in await api.get("/programs")]

    await eventually(ids, lambda seen: program in seen)


async def test_r4_m36_pips_lines_are_in_the_logs_and_the_second_run_installs_nothing(hub: HubProcess, api: Api) -> None:
    hub.write_program("needs_six", SIX)
    write_requirements(hub, "needs_six", "six==1.16.0\n")
    await known(api, "needs_six")

    first = await api.run("needs_six")
    second = await api.run("needs_six")

    for record, said in (
        (first, "[pip] Successfully installed six-1.16.0\n"),
        (second, "[hub] requirements.txt: installed before\n"),
    ):
        assert (record["status"], record["output"], record["progress"]) == ("completed", "six 1.16.0\n", None), record
        logs = await api.get(f"/executions/{record['execution_id']}/logs")
        assert said in logs["output"]
        assert logs["output"].endswith("six 1.16.0\n")
        assert logs["output_lines"] == len(logs["output"].splitlines())


async def test_r4_v2_v4_what_can_not_be_installed_is_a_file_error_with_pips_words(hub: HubProcess, api: Api) -> None:
    hub.write_program("needs_nonsense", SIX)
    write_requirements(hub, "needs_nonsense", "six==0.0.99\n")
    await known(api, "needs_nonsense")

    record = await api.run("needs_nonsense")

    assert (record["status"], record["reason"], record["category"]) == ("failed", "missing_dependencies", "file")
    assert "ERROR: No matching distribution found for six==0.0.99" in record["error"]
    assert (record["output"], record["start_time"]) == ("", None)


async def test_r12_while_an_image_is_pulled_each_waiter_sees_how_far_it_is(hub: HubProcess, api: Api) -> None:
    async with registry_served() as registry:
        registry.may_finish.clear()
        hub.write_program("pulled", "no program of this folder's", file="README", docker_image=registry.image)
        write_requirements(hub, "pulled", "six\n")
        await known(api, "pulled")
        announced = asyncio.create_task(_announced(hub, "execution.progress.pulled"))
        try:
            ids = [await api.submit("pulled") for _ in range(2)]

            async def shown() -> list[Any]:
                return [(await api.get(f"/executions/{execution_id}"))["progress"] for execution_id in ids]

            await eventually(shown, lambda seen: all(text and text.endswith(" %)") for text in seen), within_seconds=30)
            registry.may_finish.set()
            for execution_id in ids:
                record = await api.finished(execution_id)
                assert (record["status"], record["progress"]) == ("completed", None), record
                assert record["output"].startswith("tini version ")
                # The image has nothing but its program, not even a shell.
                logs = await api.get(f"/executions/{execution_id}/logs")
                assert "[hub] requirements.txt was not installed: the image has no pip\n" in logs["output"]
            assert registry.pulls == 1
            if (event := await announced) is not None:
                assert event["data"]["message"] == f"Pulling image {registry.image}"
                assert (event["data"]["phase"], event["subject"] in ids) == ("pull", True)
        finally:
            announced.cancel()
            docker("rmi", "--force", registry.image, check=False)


async def _announced(hub: HubProcess, key: str) -> dict[str, Any] | None:
    """The first event under this key that a subscriber hears; ``None`` where there is no RabbitMQ to subscribe at."""
    url = hub.environment["HUB_BUS_URL"]
    if url == "embedded":
        return None
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("hub.executions", key)
        async with asyncio.timeout(60), queue.iterator() as messages:
            event: dict[str, Any] = json.loads((await anext(messages)).body)
            return event
    raise AssertionError("the limit passed in silence")


async def test_r12_v1_v4_an_image_that_is_not_there_is_told_from_a_registry_that_is_not(hub: HubProcess, api: Api) -> None:
    sentence = "not found and could not be pulled. Please ensure the image exists locally or is available in a registry."
    async with registry_served() as registry:
        absent, away = f"127.0.0.1:{registry.port}/absent:1", "127.0.0.1:9/away:1"
        hub.write_program("absent", SIX, docker_image=absent)
        hub.write_program("away", SIX, docker_image=away)
        await known(api, "away")
        first, second = await api.run("absent"), await api.run("away")

    assert (first["reason"], first["category"]) == ("image_not_found", "image")
    assert (second["reason"], second["category"]) == ("network", "system")
    assert f"Docker image '{absent}' {sentence}" in first["error"]
    assert f"Docker image '{away}' {sentence}" in second["error"]


async def test_r15_kill_9_while_pip_runs_leaves_no_container_behind(make_hub: HubMaker) -> None:
    hub = make_hub()
    hub.write_program("slow", "print('ran')")
    program = hub.folder / "scripts" / "slow"
    (program / "lib").mkdir()
    (program / "lib" / "setup.py").write_text(SLOW)
    (program / "lib" / "hold").touch()
    (program / ".env").write_text("PIP_NO_BUILD_ISOLATION=0\nPIP_NO_INDEX=1\n")
    write_requirements(hub, "slow", "./lib\n")

    async def builders() -> list[str]:
        return [name for name in containers(instance=hub.instance) if name.startswith("pyexecutorhub-env-")]

    hub.start()
    async with aiohttp.ClientSession(hub.address) as session:
        api = Api(session)
        await api.log_in()
        execution_id = await api.submit("slow")
        (left,) = await eventually(builders, within_seconds=30)
    hub.kill()
    assert left in await builders()
    (program / "lib" / "hold").unlink()
    async with user_of(hub) as api:
        record = await api.finished(execution_id)
        assert (record["status"], record["output"]) == ("completed", "ran\n"), record
        await eventually(builders, lambda names: names == [])
