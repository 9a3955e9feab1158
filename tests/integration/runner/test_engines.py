"""Both engines as one."""

from datetime import UTC, datetime
from pathlib import Path

from runner import labels
from runner.compose_spec import Place, plan_compose
from runner.docker_engine import DockerEngine
from runner.engine import ContainerState
from runner.identity import Identity
from runner.run_spec import HostPaths, Owner
from schemas.ids import new_execution_id
from schemas.settings import ProgramSettings
from tests.integration.runner.compose_hub import DEBIAN, engines_of
from tests.support.compose import Compose, compose_v2, left_of
from tests.support.docker import docker
from tests.support.runner_fixtures import make_program

__all__ = ["compose_v2"]


async def test_a_project_counts_once_and_a_container_whose_image_claims_to_be_of_one_is_still_found(
    tmp_path: Path, identity: Identity, engine: DockerEngine, compose_v2: Compose
) -> None:
    file = tmp_path / "example" / "docker-compose.yml"
    file.parent.mkdir()
    file.write_text(f"services: {{a: {{image: '{DEBIAN}', command: sleep 60}}, b: {{image: '{DEBIAN}', command: sleep 60}}}}")
    execution_id, other_id = new_execution_id(), new_execution_id()
    spec = plan_compose(
        make_program(),
        ProgramSettings(),
        Place(file, file.parent),
        execution_id=execution_id,
        attempt=2,
        parameters={},
        paths=HostPaths(tmp_path, tmp_path),
        owner=Owner(identity, "epoch"),
        now=datetime.now(UTC),
        has_actions=False,
    )
    ours = dict(spec.labels) | {labels.EXECUTION_ID: other_id, labels.ATTEMPT: "1"}
    options = [f"--label={name}={value}" for name, value in ours.items()]
    async with engines_of(identity, tmp_path / "work", compose_v2.path) as engines:
        try:
            docker("create", "--name", other_id, *options, DEBIAN, "true")
            await engines.prepare(spec)
            found = {each.name: each.state for each in await engines.list_ours()}
            assert found == {f"{execution_id}.2": ContainerState.CREATED, other_id: ContainerState.CREATED}

            await engines.start(spec.name)
            async with engines_of(identity, tmp_path / "work", None) as later:
                assert (there := await later.find(spec.name)) is not None
                assert there.state is ContainerState.RUNNING
                await later.stop(spec.name, 0)
                assert (there := await later.find(spec.name)) is not None
                assert there.state is ContainerState.ENDED
        finally:
            await engines.destroy(spec.name)
            await engines.destroy(other_id)
        assert await engines.list_ours() == []
        assert await engines.find(spec.name) is None
    assert left_of(f"{execution_id}-2") == []
