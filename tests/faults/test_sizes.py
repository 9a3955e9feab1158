"""Requests and messages that are far too large, under a hub whose memory is watched."""

import asyncio
import socket
from collections.abc import Iterator

import aio_pika
import pytest

from schemas.commands import MAX_COMMAND_BYTES
from tests.e2e.conftest import HubMaker, started, user_of
from tests.e2e.programs import write_programs
from tests.support.broker import Broker
from tests.support.hub_process import HubProcess
from tests.support.memory import forget_peak, peak_bytes
from tests.support.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq]

GIBIBYTE = 1024**3
MEBIBYTE = 1024**2
#: Bytes that such a request may cost.
MORE = 16 * MEBIBYTE


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    hub = HubProcess(tmp_path_factory.mktemp("hub"), HUB_LOG_LEVEL="INFO")
    write_programs(hub)
    yield from started(hub)


def pour(port: int, head: bytes, piece: bytes, pieces: int) -> tuple[bytes, int]:
    """Send a request with a long body as fast as it is taken; the answer's first line, and how many bytes were taken."""
    taken = 0
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head)
        try:
            for _ in range(pieces):
                connection.sendall(piece)
                taken += len(piece)
        except OSError:
            pass  # it was cut off, which is its right
        try:
            answer = connection.recv(4096)
        except OSError:
            answer = b""
    return answer.partition(b"\r\n")[0], taken


@pytest.mark.parametrize("chunked", [False, True])
async def test_fault31_a_body_of_a_gibibyte_costs_no_memory(hub: HubProcess, chunked: bool) -> None:
    block = b"x" * MEBIBYTE
    piece = b"%x\r\n%s\r\n" % (len(block), block) if chunked else block
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % GIBIBYTE
    head = b"POST /auth/login HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\n" + framing + b"\r\n\r\n"
    before = forget_peak(hub.pid())

    answer, taken = await asyncio.to_thread(pour, hub.port, head, piece, GIBIBYTE // MEBIBYTE)

    # A gateway that is too busy to take all of it in the time it has for a refused body closes the connection.
    assert answer == b"HTTP/1.1 413 Request Entity Too Large" or (answer == b"" and taken < GIBIBYTE)
    assert peak_bytes(hub.pid()) - before < MORE, f"{(peak_bytes(hub.pid()) - before) / MEBIBYTE:.1f} MiB after {taken} bytes"


async def test_fault31_a_message_of_16_mebibytes_is_dead_lettered_unread_and_says_what_to_do(
    make_hub: HubMaker, broker: Broker
) -> None:
    hub = make_hub(bus_url=broker.new_vhost_url(), parts=("gateway", "runner"))
    async with user_of(hub) as api:
        assert (await api.run("hello"))["status"] == "completed"
        before = forget_peak(hub.pid("runner"))
        connection = await aio_pika.connect(hub.environment["HUB_BUS_URL"])
        async with connection:
            exchange = await (await connection.channel()).get_exchange("hub.commands")
            for number in range(12):
                body = b'{"program_id": "hello", "parameters": {"x": "' + b"x" * 16 * MEBIBYTE + b'"}}'
                await exchange.publish(aio_pika.Message(body, message_id=f"large-{number}"), "execute.default")
        letters = await eventually(lambda: api.get("/dead-letters"), lambda found: len(found) == 12, within_seconds=30)
        assert (await api.run("hello"))["status"] == "completed"
        # RabbitMQ hands a message over whole: two for the two slots, and one on its way to the dead letters, each some times.
        assert peak_bytes(hub.pid("runner")) - before < 10 * 16 * MEBIBYTE
    assert all(str(MAX_COMMAND_BYTES) in letter["detail"] and "somewhere else" in letter["detail"] for letter in letters)
