"""What happens to a hub while one of its processes dies at a failpoint, and what must be true when it is back."""

import asyncio
import contextlib
import json
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import uuid4

import aio_pika

from bus import topology
from runner.waiting import cancel
from tests.faults.failpoint_hub import LIMIT_SECONDS, FailpointHub
from tests.support.compose import nothing_left_of
from tests.support.docker import docker
from tests.support.held_proxy import held_proxy
from tests.support.registry import registry_served
from tests.support.wait import eventually


@dataclass(frozen=True)
class Death:
    """Who dies, and where: at each point one life ends."""

    victim: str
    points: tuple[str, ...]


Scene = Callable[[FailpointHub, Death], Awaitable[None]]


def _dying(hub: FailpointHub, death: Death) -> asyncio.Task[None]:
    return asyncio.create_task(hub.die_and_return(hub.part(death.victim), death.points), name="die and return")


async def around(hub: FailpointHub, death: Death, provoke: Callable[[], Awaitable[str]]) -> str:
    """What ``provoke`` returns; the victim dies meanwhile, or soon, and is back when this returns."""
    victim = hub.part(death.victim)
    hub.kill(victim)
    for part in (hub.gateway, hub.runner):
        if part is not victim:
            await hub.have(part)
    dying = _dying(hub, death)
    try:
        provoking = asyncio.ensure_future(provoke())
        await asyncio.wait({dying, provoking}, return_when=asyncio.FIRST_EXCEPTION)
        if dying.done():
            dying.result()
        await dying
        return provoking.result()
    finally:
        await cancel(dying, provoking)


async def runs(hub: FailpointHub, death: Death) -> None:
    """A program runs."""
    await hub.wrote_all(await around(hub, death, lambda: hub.submit("writes", str(uuid4()), pause=0.05)))


async def runs_slowly(hub: FailpointHub, death: Death) -> None:
    """A program runs, and writes for seconds."""
    await hub.wrote_all(await around(hub, death, lambda: hub.submit("writes", str(uuid4()), pause=0.2)))


async def runs_warm(hub: FailpointHub, death: Death) -> None:
    """A program runs in a container that was kept warm for it."""
    await _runs_warm(hub, death)


async def runs_warm_with_actions(hub: FailpointHub, death: Death) -> None:
    """The same between two actions."""
    with _actions(hub):
        execution_id = await _runs_warm(hub, death)
        await _ran_both_actions(hub, execution_id, "warm")


async def _runs_warm(hub: FailpointHub, death: Death) -> str:
    log_before = len(hub.runner.log())

    async def is_warm() -> bool:
        return "container is warm" in hub.runner.log()[log_before:]

    async def submit() -> str:
        await eventually(is_warm, within_seconds=LIMIT_SECONDS, every_seconds=0.1)
        return await hub.submit("warm", str(uuid4()), pause=0.1)

    async def waiting() -> list[str]:
        return await asyncio.to_thread(hub.runner.waiting)

    hub.runner.environment["HUB_WARM_CONTAINERS"] = "1"
    try:
        execution_id = await around(hub, death, submit)
        await hub.wrote_all(execution_id, "warm")
        # What waited for the runner that is no more is gone.
        await eventually(waiting, lambda seen: len(seen) <= 1, within_seconds=LIMIT_SECONDS)
    finally:
        hub.kill(hub.runner)
        hub.runner.environment["HUB_WARM_CONTAINERS"] = "0"
    return execution_id


@contextlib.contextmanager
def _actions(hub: FailpointHub) -> Iterator[None]:
    actions = hub.folder / "actions"
    actions.mkdir()
    for name in ("before", "after"):
        (actions / f"act_{name}.py").write_text(f"print('{name}'); open('/workspace/{name}', 'a').write('x')")
    try:
        yield
    finally:
        shutil.rmtree(actions)


async def _ran_both_actions(hub: FailpointHub, execution_id: str, program: str) -> None:
    _, logs = await hub.persist("GET", f"/executions/{execution_id}/logs")
    assert logs["output"].startswith("[act_before] before\n")
    assert logs["output"].endswith("[act_after] after\n")
    for name in ("before", "after"):
        file = hub.folder / "scripts" / program / name
        assert file.read_text() == "x", name
        file.unlink()


async def runs_with_actions(hub: FailpointHub, death: Death) -> None:
    """A program runs between two actions."""
    with _actions(hub):
        execution_id = await around(hub, death, lambda: hub.submit("writes", str(uuid4())))
        await hub.wrote_all(execution_id)
        await _ran_both_actions(hub, execution_id, "writes")


async def installs(hub: FailpointHub, death: Death) -> None:
    """A program whose requirements are installed first."""
    file = hub.folder / "scripts" / "requires" / "requirements.txt"
    file.write_text(f"pip  # there already, and no requirements that anybody had before: {uuid4()}\n")
    await hub.wrote_all(await around(hub, death, lambda: hub.submit("requires", str(uuid4()))), "requires")


async def runs_without_a_network(hub: FailpointHub, death: Death) -> None:
    """Programs run without a network, in turn: one that finds a sandbox spoils it, and it is removed."""

    async def some() -> str:
        for _ in range(5):
            execution_id = await hub.submit("alone", str(uuid4()))
            await hub.finished(execution_id)
        return execution_id

    await hub.wrote_all(await around(hub, death, some), "alone")
    await _no_network_is_left(hub)


async def runs_in_a_kept_bridge(hub: FailpointHub, death: Death) -> None:
    """Programs run, one after the other: after each a bridge is made for the next."""

    async def some() -> str:
        for _ in range(3):
            execution_id = await hub.submit("writes", str(uuid4()))
            await hub.finished(execution_id)
            # A runner that has died meanwhile has no need of one yet.
            with contextlib.suppress(AssertionError):
                await eventually(lambda: _networks(hub), within_seconds=3, every_seconds=0.1)
        return execution_id

    await hub.wrote_all(await around(hub, death, some))
    await _no_network_is_left(hub)


async def _networks(hub: FailpointHub) -> list[str]:
    return await asyncio.to_thread(hub.runner.sandboxes)


async def _no_network_is_left(hub: FailpointHub) -> None:
    # What an earlier life had made is swept; this one may have made one for itself.
    await eventually(lambda: _networks(hub), lambda there: len(there) <= 1, within_seconds=60)
    hub.runner.stop()
    # Where a program of an earlier life was in it, the next life sweeps it.
    await hub.have(hub.runner)
    await eventually(lambda: _networks(hub), lambda there: there == [], within_seconds=60)


async def pulls(hub: FailpointHub, death: Death) -> None:
    """An image that is pulled first."""
    async with registry_served() as registry:
        try:
            await hub.add_program("pulled", "", file="README", docker_image=registry.image)
            execution_id = await around(hub, death, lambda: hub.submit("pulled", str(uuid4())))
            record = await hub.is_whole(execution_id, "pulled", starts=0)
            assert (record["status"], record["exit_code"]) == ("completed", 0), record
        finally:
            docker("rmi", "--force", registry.image, check=False)


async def is_tried_again(hub: FailpointHub, death: Death) -> None:
    """A program that fails and is tried again, twice: each attempt starts once."""
    execution_id = await around(hub, death, lambda: hub.submit("again", str(uuid4())))
    record = await hub.is_whole(execution_id, "again", starts=3)
    assert (record["status"], record["exit_code"], record["attempt"]) == ("completed", 0, 3), record
    assert record["output"] == "at last\n", record


async def is_stopped_at_its_limit(hub: FailpointHub, death: Death) -> None:
    """A program that ignores SIGTERM is stopped at its time limit."""
    record = await hub.is_whole(await around(hub, death, lambda: hub.submit("stubborn", str(uuid4()))), "stubborn")
    assert (record["status"], record["exit_code"], record["output"]) == ("timeout", 137, "here\n"), record


async def is_told_to_drain(hub: FailpointHub, death: Death) -> None:
    """The runner is asked to stop while a program runs, and dies on the way out."""

    async def drain() -> str:
        execution_id = await hub.submit("writes", str(uuid4()), pause=0.3)
        await hub.is_running(execution_id)
        hub.runner.send_signal("runner", signal.SIGTERM)
        return execution_id

    await hub.wrote_all(await around(hub, death, drain))


async def is_cancelled(hub: FailpointHub, death: Death) -> None:
    """A running program is cancelled."""

    async def cancel() -> str:
        execution_id = await hub.submit("lasts", str(uuid4()))
        await hub.is_running(execution_id)
        status, body = await hub.persist("POST", f"/executions/{execution_id}/cancel", {"reason": "enough"})
        assert status in (200, 202), body
        return execution_id

    record = await hub.is_whole(await around(hub, death, cancel), "lasts")
    assert (record["status"], record["reason"]) == ("cancelled", "cancelled"), record
    assert "enough" in record["error"], record


async def is_cancelled_before_anybody_takes_it(hub: FailpointHub, death: Death) -> None:
    """A command is cancelled while no runner is there; the victim meets that."""
    await hub.have(hub.gateway)
    hub.kill(hub.runner)
    execution_id = await hub.submit("writes", str(uuid4()))

    async def cancel() -> str:
        status, body = await hub.persist("POST", f"/executions/{execution_id}/cancel")
        assert status in (200, 202), body
        return execution_id

    if death.victim == "runner":
        await cancel()
        await hub.finished(execution_id)
        await hub.die_and_return(hub.runner, death.points)
    else:
        hub.kill(hub.gateway)
        dying = _dying(hub, death)
        await cancel()
        await dying
        await hub.have(hub.runner)
    record = await hub.is_whole(execution_id, starts=0)
    assert (record["status"], record["start_time"]) == ("cancelled", None), record


async def is_malformed(hub: FailpointHub, death: Death) -> None:
    """A command that nobody understands, and a good one after it."""
    letter = str(uuid4())

    async def publish() -> str:
        await hub.have(hub.gateway)
        await publish_command(hub, letter, b"no json")
        return await hub.submit("writes", str(uuid4()))

    await hub.wrote_all(await around(hub, death, publish))
    # It is there, and where the runner died after it had put it there, perhaps twice.
    assert 1 <= len(await _letters(hub, letter)) <= 2
    await _work_queue_is_empty(hub)


async def is_redriven(hub: FailpointHub, death: Death) -> None:
    """A dead letter is run again as what was meant."""
    letter, before = await _dead_letter(hub), set(hub.accepted)

    async def redrive() -> str:
        status, body = await hub.persist("POST", f"/dead-letters/{letter}/redrive", {"program_id": "writes"})
        if status == 404:  # it was redriven before the gateway died, and is gone
            _, executions = await hub.persist("GET", "/executions?program=writes")
            new = {record["execution_id"] for record in executions} - before
            assert len(new) == 1, new
            return str(new.pop())
        assert status == 202, body
        return str(body["execution_id"])

    execution_id = await around(hub, death, redrive)
    hub.accepted.add(execution_id)
    await hub.wrote_all(execution_id)
    assert letter not in await _letter_ids(hub)


async def is_discarded(hub: FailpointHub, death: Death) -> None:
    """A dead letter is let go of."""
    letter = await _dead_letter(hub)

    async def discard() -> str:
        status, body = await hub.persist("DELETE", f"/dead-letters/{letter}")
        assert status in (204, 404), body
        return letter

    await around(hub, death, discard)
    assert letter not in await _letter_ids(hub)


async def is_removed(hub: FailpointHub, death: Death) -> None:
    """Finished executions are cleaned up."""
    await hub.have(hub.gateway)
    await hub.have(hub.runner)
    execution_id = await hub.submit("writes", str(uuid4()))
    await hub.wrote_all(execution_id)

    async def clean_up() -> str:
        status, body = await hub.persist("DELETE", "/executions/cleanup")
        assert status == 200, body
        return execution_id

    await around(hub, death, clean_up)
    status, _ = await hub.persist("GET", f"/executions/{execution_id}")
    assert status == 404
    await hub.is_tidy()  # the statistics still count it


async def has_a_reply(hub: FailpointHub, death: Death) -> None:
    """A command whose publisher wants the answer sent."""
    queue, execution_id = f"reply.{uuid4()}", str(uuid4())

    async def declare(channel: aio_pika.abc.AbstractChannel) -> None:
        await channel.declare_queue(queue, durable=True)

    async def ask() -> str:
        await hub.amqp(declare)
        await publish_command(hub, execution_id, json.dumps({"program_id": "writes"}).encode(), reply_to=queue)
        hub.accepted.add(execution_id)
        return execution_id

    await hub.have(hub.gateway)  # for the topology
    await around(hub, death, ask)
    await hub.wrote_all(execution_id)
    answers: set[str] = set()

    async def read(channel: aio_pika.abc.AbstractChannel) -> None:
        there = await channel.declare_queue(queue, passive=True)
        while (message := await there.get(no_ack=True, fail=False)) is not None:
            answers.add(message.message_id or "")

    async def answered() -> set[str]:
        await hub.amqp(read)
        return answers

    await eventually(answered)
    assert answers == {f"{execution_id}:end"}


async def is_not_confirmed(hub: FailpointHub, death: Death) -> None:
    """A request without a key whose command arrives and whose confirm does not: it is withdrawn."""
    address = urlsplit(hub.bus_url)
    hub.kill(hub.gateway)
    hub.kill(hub.runner)
    async with held_proxy(address.port or 0) as proxy:
        hub.gateway.environment["HUB_BUS_URL"] = hub.bus_url.replace(f":{address.port}/", f":{proxy.port}/")
        dying = _dying(hub, death)
        try:
            await hub.persist("GET", "/health?ready=1")
            await hub.persist("GET", "/programs")  # logs in
            # The gateway counts what waits before it accepts, and again a second later: the next count must be good yet.
            await hub.submit("writes", str(uuid4()))
            proxy.hold()
            status, body = await hub.ask("POST", "/execute", {"program_id": "writes"})
            assert (status, body["outcome"]) == (503, "unknown"), body
            execution_id = body["execution_id"]
            hub.accepted.add(execution_id)
            proxy.lose()
            await dying
            await hub.have(hub.runner)
            record = await hub.is_whole(execution_id, starts=0)
            assert (record["status"], record["start_time"]) == ("cancelled", None), record
        finally:
            dying.cancel()
            hub.gateway.environment["HUB_BUS_URL"] = hub.bus_url
            hub.kill(hub.gateway)


async def is_the_first_of_all(hub: FailpointHub, death: Death) -> None:
    """Nobody has ever announced anything."""

    async def forget(channel: aio_pika.abc.AbstractChannel) -> None:
        await channel.queue_delete(topology.ANNOUNCER)

    await hub.have(hub.gateway)
    hub.kill(hub.gateway)
    await hub.amqp(forget)
    await runs(hub, death)


STACK = {
    "services": {
        "app": {
            "build": ".",
            "command": ["sh", "-c", "echo app >>/host/$$EXECUTION_ID; echo out; sleep 0.3; exit 7"],
            "environment": {"EXECUTION_ID": "${EXECUTION_ID}"},
            "depends_on": ["database"],
            "volumes": ["./host:/host", "data:/data"],
        },
        "database": {
            "image": "pyexecutorhub-debian:bookworm",
            "command": ["sh", "-c", "echo database >>/host/$$EXECUTION_ID; sleep 600"],
            "environment": {"EXECUTION_ID": "${EXECUTION_ID}"},
            "volumes": ["./host:/host"],
        },
    },
    "volumes": {"data": {}},
}


async def runs_with_compose(hub: FailpointHub, death: Death) -> None:
    """A Compose program, which a runner that comes back takes up: each service starts once, and nothing is left of it."""
    file = "docker-compose.yml"
    await hub.add_program("stack", json.dumps(STACK), file=file, path_docker_compose_run=file, stop_grace_seconds=0.1)
    folder = hub.folder / "scripts" / "stack"
    (folder / "host").mkdir(exist_ok=True)
    (folder / "host").chmod(0o777)
    (folder / "Dockerfile").write_text("FROM pyexecutorhub-debian:bookworm\n")
    execution_id = await around(hub, death, lambda: hub.submit("stack", str(uuid4())))
    record = await hub.is_whole(execution_id, "stack", starts=0)
    assert (record["status"], record["exit_code"], record["output"]) == ("failed", 7, "app-1       | out\n"), record
    assert sorted((folder / "host" / execution_id).read_text().split()) == ["app", "database"], record
    await nothing_left_of(execution_id)


# Helpers


async def publish_command(
    hub: FailpointHub, message_id: str, body: bytes, *, reply_to: str | None = None, expiration: float | None = None
) -> None:
    """Publish a command as anybody may, who need not ask the gateway; ``expiration`` is in seconds."""

    async def publish(channel: aio_pika.abc.AbstractChannel) -> None:
        exchange = await channel.get_exchange("hub.commands", ensure=False)
        message = aio_pika.Message(
            body,
            message_id=message_id,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            reply_to=reply_to,
            expiration=expiration,
        )
        await exchange.publish(message, "execute.default")

    await hub.amqp(publish)


async def _letters(hub: FailpointHub, message_id: str) -> list[str]:
    async def letters() -> list[str]:
        _, body = await hub.persist("GET", "/dead-letters")
        return [letter["id"] for letter in body if letter["message_id"] == message_id]

    return await eventually(letters)


async def _letter_ids(hub: FailpointHub) -> list[str]:
    _, body = await hub.persist("GET", "/dead-letters")
    return [letter["id"] for letter in body]


async def _dead_letter(hub: FailpointHub) -> str:
    await hub.have(hub.gateway)
    await hub.have(hub.runner)
    message_id = str(uuid4())
    await publish_command(hub, message_id, b"no json")
    return (await _letters(hub, message_id))[0]


async def _work_queue_is_empty(hub: FailpointHub) -> None:
    async def ready() -> int:
        found = 0

        async def count(channel: aio_pika.abc.AbstractChannel) -> None:
            nonlocal found
            queue = await channel.declare_queue("hub.work.default", passive=True)
            found = queue.declaration_result.message_count or 0

        await hub.amqp(count)
        return found

    await eventually(ready, lambda seen: seen == 0)
