"""A gateway in memory, and a client of it."""

from collections.abc import AsyncIterator

import pytest

from tests.support.gateway_fakes import Client, FakeCatalogues, World, catalogue, client_of, program


@pytest.fixture
def world() -> World:
    """Two programs, one of them under another id than its key, and one that is switched off."""
    programs = (
        program("example_script", description="An example", parameters="--process 2"),
        program("billing", id="7", name="Billing", kind="bot", path="bots/billing", docker_image="billing:1", pool="slow"),
        program("off", enabled=False),
    )
    return World(catalogues=FakeCatalogues(catalogue(*programs, max_executions=500, max_concurrent_executions=3)))


@pytest.fixture
async def client(world: World) -> AsyncIterator[Client]:
    """A client with a valid token."""
    async with client_of(world.app()) as client:
        yield client


@pytest.fixture
async def stranger(world: World) -> AsyncIterator[Client]:
    """A client without a token."""
    async with client_of(world.app(), token="") as client:
        yield client
