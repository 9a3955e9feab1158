"""Compose programs whose runner crashes, stops or finds no Compose."""

import asyncio
from pathlib import Path

from runner.identity import Identity
from schemas.catalogue import Catalogue
from schemas.reasons import Category, Reason
from schemas.status import Status
from tests.integration.runner.compose_hub import (
    DEBIAN,
    ComposeHub,
    compose_hub_v2,
    engines_of,
    nothing_built_stays,
)
from tests.support.compose import compose_v2, left_of, nothing_left_of
from tests.support.docker import docker
from tests.support.wait import eventually

__all__ = ["compose_hub_v2", "compose_v2", "nothing_built_stays"]

LONG = {
    "services": {
        "app": {"image": DEBIAN, "command": "sleep 60", "volumes": ["data:/data"], "depends_on": ["other"]},
        "other": {"image": DEBIAN, "command": "sleep 60"},
    },
    "volumes": {"data": {}},
}


async def test_a_runner_killed_while_a_project_was_being_made_makes_and_runs_it_anew(compose_hub_v2: ComposeHub) -> None:
    file = {"services": {"app": {"image": DEBIAN, "command": "echo ran"}}}
    for delay in (0.05, 0.3, 0.5):
        around = compose_hub_v2(file)
        async with around.crashing_runner():
            execution_id = await around.submit()
            await asyncio.sleep(delay)
        async with around.runner():
            ended = await around.ended(execution_id, within_seconds=60)
            assert (ended.status, ended.stdout.content) == (Status.COMPLETED, "app-1  | ran\n")
            await nothing_left_of(execution_id)


async def test_a_project_that_no_claim_owns_is_removed_at_the_start(compose_hub_v2: ComposeHub) -> None:
    around = compose_hub_v2(LONG)
    async with around.crashing_runner():
        execution_id = await around.submit()
        await around.is_running(execution_id)
    project = f"--filter=label=com.docker.compose.project=hub-{execution_id}"
    docker("rm", "--force", *docker("ps", "--all", "--quiet", project).split())
    assert len(left_of(execution_id)) == 2  # the network and the volume

    async with around.journal() as journal:
        for claimed in await journal.claims():
            await journal.forget(claimed)
    async with around.runner():
        await nothing_left_of(execution_id)


async def test_what_a_stop_interrupts_while_it_is_being_made_the_next_life_runs_and_clears_away(
    compose_hub_v2: ComposeHub,
) -> None:
    around = compose_hub_v2({"services": {"app": {"image": DEBIAN, "command": "echo ran"}}})
    async with around.runner(stop_limit_seconds=0):
        execution_id = await around.submit()

        async def making() -> bool:
            return bool(await asyncio.to_thread(left_of, execution_id))

        await eventually(making)
    async with around.runner():
        ended = await around.ended(execution_id, within_seconds=60)
        assert (ended.status, ended.stdout.content) == (Status.COMPLETED, "app-1  | ran\n")
        await nothing_left_of(execution_id)


async def test_without_compose_a_compose_program_says_what_to_install_and_others_run(
    compose_hub_v2: ComposeHub, identity: Identity, tmp_path: Path, python_image: str
) -> None:
    around = compose_hub_v2({"services": {"app": {"image": DEBIAN}}}, settings={"docker_image": python_image})
    plain = around.catalogues.current.programs[0].model_copy(
        update={"key": "plain", "id": "plain", "path_docker_compose_run": None}
    )
    current = around.catalogues.current
    around.catalogues.current = Catalogue((*current.programs, plain), current.settings, current.project_dir)
    (compose_hub_v2.program / "main.py").write_text("print('plain')")
    async with engines_of(identity, tmp_path / "none", None) as engines:
        around.engine = engines
        async with around.runner():
            ended = await around.ended(await around.submit())
            assert (ended.status, ended.reason, ended.category) == (
                Status.FAILED,
                Reason.COMPOSE_UNAVAILABLE,
                Category.SYSTEM,
            )
            assert "install the plugin of docker compose" in (ended.message or "")
            assert (await around.ended(await around.submit("plain"))).stdout.content == "plain\n"


async def test_a_changed_folder_is_built_anew_and_what_was_built_before_goes(compose_hub_v2: ComposeHub) -> None:
    around = compose_hub_v2({"services": {"app": {"build": "."}}})
    label = f"--filter=label=io.pyexecutorhub.instance={around.identity.instance}"
    async with around.runner():
        for word in ("one", "two", "three"):
            (compose_hub_v2.program / "Dockerfile").write_text(f'FROM {DEBIAN}\nCMD ["echo", "{word}"]\n')
            ended = await around.ended(await around.submit(), within_seconds=60)
            assert ended.stdout.content == f"app-1  | {word}\n"
            assert len(docker("images", "--all", "--quiet", label).split()) <= 2

        async def kept_after_another() -> int:
            await around.ended(await around.submit(), within_seconds=60)
            return len(docker("images", "--all", "--quiet", label).split())

        # The one before the last may still have been used while the last was built.
        await eventually(kept_after_another, lambda kept: kept == 1, within_seconds=30)
