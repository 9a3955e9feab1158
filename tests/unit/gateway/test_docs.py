"""O8: the OpenAPI document and the page, held against the routes and their real answers."""

import re
from dataclasses import replace

import pytest
from pydantic import ValidationError

from gateway import documents
from gateway.openapi import openapi_path
from gateway.policies import Policy
from gateway.routes import ROUTES
from schemas.containers import Container, ContainerLog, Gathered
from schemas.executions import Execution
from schemas.ids import new_execution_id
from schemas.output import Output
from schemas.status import Status
from schemas.times import utc_now
from tests.support.gateway_fakes import PASSWORD, USERNAME, Client, World


async def test_o8_every_route_is_in_the_document_with_its_answers_and_its_need_of_a_token(client: Client) -> None:
    document = await (await client.get("/openapi.json")).json()

    assert document["openapi"] == "3.1.0"
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, openapi_path(route.path)) for route in ROUTES}
    for route in ROUTES:
        operation = document["paths"][openapi_path(route.path)][route.method.lower()]
        assert (operation.get("security") == []) == (route.policy is Policy.OPEN)
        assert set(operation["responses"]) == {str(status) for status in (*route.answers, *route.other_answers)} | {"default"}
    operations = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(set(operations)) == len(operations)
    # Every reference leads somewhere.
    references = set(re.findall(r'"#/components/schemas/(\w+)"', (await (await client.get("/openapi.json")).text())))
    assert references <= document["components"]["schemas"].keys()


async def test_o8_m32_parameters_are_described_as_they_are_judged(client: Client) -> None:
    document = await (await client.get("/openapi.json")).json()

    listing = {one["name"]: one["schema"] for one in document["paths"]["/executions"]["get"]["parameters"]}
    for good, bad in ((listing["limit"]["minimum"], 0), (listing["limit"]["maximum"], 201)):
        assert (await client.get(f"/executions?limit={good}")).status == 200
        assert (await client.get(f"/executions?limit={bad}")).status == 422
    assert listing["status"]["enum"] == [status.value for status in Status]
    assert listing["since"]["format"] == listing["until"]["format"] == "date-time"
    assert set(listing) == {"limit", "cursor", "status", "program", "since", "until"}
    wait, key = document["paths"]["/execute"]["post"]["parameters"]
    assert (key["name"], key["in"], key["required"]) == ("Idempotency-Key", "header", False)
    for text, status in (("k" * 255, 202), ("k" * 256, 422)):
        assert (re.search(key["schema"]["pattern"], text) is not None) == (status == 202)
        answer = await client.post("/execute", json={"program_id": "billing"}, headers={"Idempotency-Key": text})
        assert answer.status == status
    most = wait["schema"]["maximum"]
    for seconds, status in ((most + 1, 422), (0, 202)):
        assert (await client.post(f"/execute?wait={seconds}", json={"program_id": "billing"})).status == status
    (execution,) = document["paths"]["/executions/{execution_id}"]["get"]["parameters"]
    assert (execution["in"], execution["required"]) == ("path", True)
    assert re.search(execution["schema"]["pattern"], new_execution_id())
    assert not re.search(execution["schema"]["pattern"], "1")


async def test_o8_real_answers_are_as_the_document_says(client: Client, world: World) -> None:
    now = utc_now()
    ended = Execution(
        execution_id=new_execution_id(),
        program_id="example_script",
        status=Status.FAILED,
        accepted_at=now,
        started_at=now,
        ended_at=now,
        exit_code=3,
    )
    await world.view.put(ended, Output(stdout=b"out", complete=True))
    await world.view.put(replace(ended, execution_id=new_execution_id(), status=Status.RUNNING, ended_at=None))
    container = Container(container_id="c", image="a", status="Up", name="n")
    world.fleet.active = Gathered(found=[("r", container)], asked=2, missing=["s"])
    log = ContainerLog(container_id="c", stdout="", stderr="", truncated=False)
    world.fleet.logs = Gathered(found=[("r", log)], asked=2, missing=["s"], truncated=True)
    execute = {"json": {"program_id": "billing"}}
    login = {"json": {"username": USERNAME, "password": PASSWORD}}
    world.api_tokens.issue()
    (token,) = await world.api_tokens.all()
    letter = world.dead_letters.put(b'{"program_id": "billing"}')
    letter_and_message = world.dead_letters.letters[letter.id]
    asked = 0
    for route in ROUTES:
        if not route.answers:
            continue
        path = (
            openapi_path(route.path)
            .replace("{execution_id}", ended.execution_id)
            .replace("{term}", "base")
            .replace("{image}", "a")
            .replace("{token_id}", token.token_id)
            .replace("{letter_id}", letter.id)
        )
        options = {"/auth/login": login, "/auth/tokens": {"json": {"name": "a"}}, "/execute": execute}.get(
            path, execute if route.body else {}
        )
        response = await client.request(route.method, path, **options)  # type: ignore[arg-type]
        assert response.status in route.answers, (path, await response.text())
        if (model := route.answers[response.status]) is not None:
            model.model_validate_json(await response.read())
        else:
            assert await response.read() == b""
        world.dead_letters.letters[letter.id] = letter_and_message
        asked += 1
        if route.method == "DELETE":
            await world.view.put(ended, Output(stdout=b"out", complete=True))
    assert asked == len(ROUTES) - sum(bool(route.other_answers) for route in ROUTES)


async def test_o8_the_page_names_every_route_loads_nothing_and_runs_no_script(stranger: Client) -> None:
    response = await stranger.get("/docs")

    page = await response.text()
    assert (response.status, response.content_type) == (200, "text/html")
    for route in ROUTES:
        assert f"<code>{openapi_path(route.path)}</code>" in page
    assert "<script" not in page
    assert "src=" not in page
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_a_document_with_another_key_than_it_describes_is_noticed() -> None:
    with pytest.raises(ValidationError):
        documents.Count.model_validate({"total": 1, "name": "a", "more": 1})
