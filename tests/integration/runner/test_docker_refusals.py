"""What can't be run on the real engine, and what people are told about it."""

import pytest

from schemas.reasons import Category, Reason
from schemas.status import Status
from tests.integration.runner.conftest import MakeHub
from tests.support.docker import containers


async def test_a_missing_image_that_can_not_be_pulled_is_named_r12_v1(hub: MakeHub) -> None:
    around = hub(docker_image="pyexecutorhub-no-such-image:1")
    async with around.runner():
        ended = await around.ended(await around.submit())

    assert (ended.status, ended.reason, ended.category) == (Status.FAILED, Reason.IMAGE_NOT_FOUND, Category.IMAGE)
    assert (ended.message or "").startswith(
        "Docker image 'pyexecutorhub-no-such-image:1' not found and could not be pulled. "
        "Please ensure the image exists locally or is available in a registry. Docker says: "
    )
    assert (ended.started_at, ended.exit_code) == (None, None)


async def test_a_missing_interpreter_is_told_from_a_failing_program(hub: MakeHub) -> None:
    around = hub(main_file="main.js")
    (around.catalogues.current.project_dir / "example" / "main.js").write_text("console.log(1)")
    async with around.runner():
        execution_id = await around.submit()
        ended = await around.ended(execution_id)

    assert (ended.status, ended.reason, ended.exit_code) == (Status.FAILED, Reason.START_FAILED, 127)
    assert "exec node failed: No such file or directory" in (ended.message or "")
    assert containers(execution_id=execution_id) == []


async def test_a_folder_that_docker_s_host_does_not_have_is_told_with_the_setting_to_check(
    hub: MakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = hub("print(1)")
    around.host_project_dir = around.state_dir / "elsewhere"
    async with around.runner():
        ended = await around.ended(await around.submit())

    assert (ended.status, ended.reason) == (Status.FAILED, Reason.INVALID_PATH)
    assert "HOST_PROJECT_DIR" in (ended.message or "")
    assert not around.host_project_dir.exists()
