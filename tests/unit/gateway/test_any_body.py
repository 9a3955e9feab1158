"""Whatever comes as a body, the answer is never a fault of ours."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.commands import parse_execute
from tests.support.gateway_fakes import Client, FakeCatalogues, World, catalogue, client_of, program

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(st.characters()), children, max_size=4),
    max_leaves=12,
)
NEARLY_GOOD = st.fixed_dictionaries(
    {"program_id": st.sampled_from(["example_script", "nope"]) | JSON}, optional={"parameters": JSON, "more": JSON}
)
BODIES = st.binary(max_size=300) | (JSON | NEARLY_GOOD).map(lambda document: json.dumps(document).encode())


class Runner:
    """One gateway for all examples: hypothesis calls the test many times, each time without a loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.world = World(catalogues=FakeCatalogues(catalogue(program("example_script"))))
        self._context = client_of(self.world.app())
        self.client: Client = self.loop.run_until_complete(self._context.__aenter__())

    def post(self, body: bytes) -> tuple[int, bytes]:
        async def call() -> tuple[int, bytes]:
            response = await self.client.post("/execute", data=body, headers={"Content-Type": "application/json"})
            return response.status, await response.read()

        return self.loop.run_until_complete(call())

    def close(self) -> None:
        self.loop.run_until_complete(self._context.__aexit__(None, None, None))
        self.loop.close()


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    runner = Runner()
    yield runner
    runner.close()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=BODIES)
def test_a9_any_body_is_accepted_or_refused_but_never_breaks_the_gateway(runner: Runner, body: bytes) -> None:
    before = len(runner.world.commands.accepted)

    status, answer = runner.post(body)

    assert status in (202, 404, 413, 422)
    json.loads(answer)
    accepted = runner.world.commands.accepted[before:]
    assert len(accepted) == (1 if status == 202 else 0)
    for _, message in accepted:
        # What was accepted is understood by everybody behind the bus.
        _, command = parse_execute(message.id, message.body)
        assert command.parameters == json.loads(body).get("parameters", {})
