"""The sweeper on the real engine: every kind of thing that a killed runner leaves, and nothing of anybody else's."""

from collections.abc import Iterator, Mapping

import pytest

from runner import docker_belongings, labels
from runner.docker_engine import DockerEngine
from runner.identity import Identity
from runner.sweeper import Sweeper
from schemas.ids import new_execution_id
from tests.support.docker import docker

DEBIAN = "pyexecutorhub-debian:bookworm"


class Things:
    """Containers, networks, volumes and images as runners make them."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str]] = []

    def make(self, identity: Identity, execution_id: str | None) -> set[str]:
        """One of each kind but images, the container running; their ids."""
        said = {
            labels.MANAGED: "true",
            labels.INSTANCE: identity.instance,
            labels.RUNNER_ID: identity.runner_id,
            **({labels.EXECUTION_ID: execution_id, labels.ATTEMPT: "1"} if execution_id else {}),
        }
        options = [f"--label={name}={value}" for name, value in said.items()]
        name = f"swept-{new_execution_id()}"
        network = docker("network", "create", *options, name)
        volume = docker("volume", "create", *options, name)
        container = docker("run", "--detach", *options, f"--network={name}", f"--volume={name}:/v", DEBIAN, "sleep", "600")
        made = [("container", container), ("network", network), ("volume", volume)]
        self.made += made
        return {id_ for _, id_ in made}

    def dangling_image(self, identity: Identity) -> str:
        """An image that no name leads to."""
        change = f"LABEL {labels.INSTANCE}={identity.instance}"
        container = docker("create", DEBIAN, "true")
        image = docker("commit", f"--change={change}", container)
        docker("rm", container)
        self.made.append(("image", image))
        return image

    def there(self) -> set[str]:
        """The ids of those that are still there."""
        return {id_ for kind, id_ in self.made if docker(kind, "inspect", id_, check=False) not in ("", "[]")}

    def remove(self) -> None:
        """Remove all of it."""
        for kind, id_ in self.made:
            docker(kind, "rm", *(["--force"] if kind == "container" else []), id_, check=False)


@pytest.fixture
def things() -> Iterator[Things]:
    things = Things()
    yield things
    things.remove()


async def test_m46_m45_fault26_fault25_only_what_is_this_runners_and_nobody_owns_is_removed(
    engine: DockerEngine, identity: Identity, things: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = new_execution_id()

    async def claims() -> frozenset[str]:
        return frozenset({claimed})

    strays = things.make(identity, new_execution_id()) | things.make(identity, None) | {things.dangling_image(identity)}
    owned = things.make(identity, claimed)
    # Of another runner of this hub on this engine, and of another hub that has a runner of the same name.
    others = things.make(Identity(identity.instance, "another"), new_execution_id())
    others |= things.make(Identity(f"{identity.instance}-2", identity.runner_id), new_execution_id())
    others.add(things.dangling_image(Identity(f"{identity.instance}-2", identity.runner_id)))

    # What is dangling may be an image that is being made just now …

    async def is_anothers(_: Mapping[str, str]) -> bool:
        return False

    sweeper = Sweeper(engine, claims, is_anothers=is_anothers)
    assert await sweeper.sweep() == len(strays) - 1
    # … unless it has been so for long.
    monkeypatch.setattr(docker_belongings, "_BEING_MADE_SECONDS", -60.0)
    assert await sweeper.sweep() == 1
    assert things.there() == owned | others
    assert await sweeper.sweep() == 0
