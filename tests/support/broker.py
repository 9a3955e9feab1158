"""A real RabbitMQ for the tests: one server a session, one virtual host a test.

The server is a container of the fleet's own image, which tools/rabbitmq_image.sh builds, or, where ``HUB_TEST_AMQP_URL`` is
set, the one at that address. There is one virtual host then, the one of the address, whose ``hub.*`` exchanges and queues are
deleted before each use: name one that nobody else uses.
"""

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aio_pika
import pytest

from bus import topology
from tests.support.ports import free_port

IMAGE = "pyexecutorhub-rabbitmq"
#: Label of everything that a test session starts: who is to remove it.
OWNER_LABEL = "io.pyexecutorhub.test.owner-pid"
_AMQP_PORT = 5672
#: Virtual hosts that are made at a time: each call of the server's command line tool takes seconds, whatever it does.
_VHOSTS_AT_A_TIME = 20
#: Seconds for the server to start; it takes 5 to 30, by how busy the machine is.
_START_LIMIT_SECONDS = 90.0
#: Pools that tests declare, whose queues are deleted where the virtual host is used again.
_POOLS = ("default", "other", "third")
_SUBSCRIBERS = ("billing",)


class Broker:
    """A RabbitMQ server."""

    def new_vhost_url(self) -> str:
        """The address of an empty virtual host."""
        raise NotImplementedError


class ForeignBroker(Broker):
    """A server that is there already."""

    def __init__(self, url: str) -> None:
        self._url = url

    def new_vhost_url(self) -> str:
        """The same address each time, emptied."""
        # In a thread: who asks may be in an event loop of his own.
        with ThreadPoolExecutor(max_workers=1) as thread:
            thread.submit(asyncio.run, self._empty()).result()
        return self._url

    async def _empty(self) -> None:
        async with await aio_pika.connect(self._url) as connection:
            channel = await connection.channel()
            queues = [*topology.QUEUES, *map(topology.work_queue, _POOLS), *map(topology.subscriber_queue, _SUBSCRIBERS)]
            for queue in queues:
                await channel.queue_delete(queue.name)
            for exchange in topology.EXCHANGES:
                await channel.exchange_delete(exchange)


class OwnBroker(Broker):
    """A server in a container of our own."""

    def __init__(self) -> None:
        # Read by testcontainers at import. Without the first it wants an image to clean up with, which no registry may have;
        # without the others it gives out the bridge's address where this runs in a container itself.
        os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
        os.environ["TESTCONTAINERS_CONNECTION_MODE"] = "docker_host"
        os.environ["TESTCONTAINERS_HOST_OVERRIDE"] = "127.0.0.1"
        from testcontainers.core.container import DockerContainer

        _sweep()
        # A fixed port: after a restart the server must be where it was.
        self.port = free_port()
        self._container: Any = (
            DockerContainer(IMAGE)
            .with_bind_ports(_AMQP_PORT, self.port)
            .with_envs(RABBITMQ_DEFAULT_USER="hub", RABBITMQ_DEFAULT_PASS="hub")
            .with_kwargs(labels={OWNER_LABEL: str(os.getpid())})
        )
        self._is_created = False
        self._vhosts: list[str] = []
        self._made = 0

    def start(self) -> None:
        """Start it, again or for the first time, and wait until it speaks AMQP."""
        if self._is_created:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self._is_created = True
        deadline = time.monotonic() + _START_LIMIT_SECONDS
        while not self.answers():
            if time.monotonic() > deadline:
                raise AssertionError(f"RabbitMQ did not start: {self._container.get_wrapped_container().logs()[-4000:]!r}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it in order; its data stay."""
        self._container.get_wrapped_container().stop(timeout=30)

    def kill(self) -> None:
        """SIGKILL: it is gone at once; its data stay."""
        self._container.get_wrapped_container().kill()

    def freeze(self) -> None:
        """It does nothing any more, and its connections stay open."""
        self._container.get_wrapped_container().pause()

    def thaw(self) -> None:
        """It goes on."""
        self._container.get_wrapped_container().unpause()

    def restart(self) -> None:
        """Stop, and start again."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop it for good."""
        self._container.stop()

    def new_vhost_url(self) -> str:
        """The address of a virtual host that nobody has used."""
        if not self._vhosts:
            self._make_vhosts()
        return self.url_of(self._vhosts.pop())

    def url_of(self, vhost: str) -> str:
        """The address of a virtual host."""
        return f"amqp://hub:hub@127.0.0.1:{self.port}/{vhost}"

    def control(self, *words: str) -> str:
        """Run rabbitmqctl; what it printed."""
        code, output = self._container.get_wrapped_container().exec_run(["rabbitmqctl", "--quiet", *words])
        text: str = output.decode()
        assert code == 0, text
        return text

    def answers(self) -> bool:
        """Whether it speaks AMQP."""
        return speaks_amqp(self.port)

    def _make_vhosts(self) -> None:
        first, self._made = self._made, self._made + _VHOSTS_AT_A_TIME
        self.control(
            "eval",
            f"""[begin
                V = list_to_binary("test-" ++ integer_to_list(N)), U = <<"hub">>, A = <<".*">>,
                rabbit_vhost:add(V, U), rabbit_auth_backend_internal:set_permissions(U, V, A, A, A, U)
            end || N <- lists:seq({first}, {self._made - 1})], ok.""",
        )
        self._vhosts = [f"test-{number}" for number in range(first, self._made)]


def speaks_amqp(port: int) -> bool:
    """Whether a server answers. An open port says nothing: Docker's proxy opens it before the server is there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.settimeout(2)
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return len(connection.recv(1)) == 1
    except OSError:
        return False


@pytest.fixture(scope="session")
def own_broker() -> Iterator[OwnBroker]:
    """A server that may be stopped and started."""
    broker = OwnBroker()
    try:
        broker.start()
        yield broker
    finally:
        broker.remove()


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Broker:
    """A server that others use too."""
    url = os.environ.get("HUB_TEST_AMQP_URL")
    if url:
        return ForeignBroker(url)
    own: OwnBroker = request.getfixturevalue("own_broker")
    return own


@pytest.fixture
def amqp_url(request: pytest.FixtureRequest) -> str:
    """An empty virtual host; for a test that may do as it likes with a server (``own_broker``), one of that server."""
    name = "own_broker" if "own_broker" in request.fixturenames else "broker"
    server: Broker = request.getfixturevalue(name)
    return server.new_vhost_url()


def _sweep() -> None:
    """Remove what a session that was killed left behind; those that live are somebody else's."""
    listed = subprocess.run(
        ["docker", "ps", "-a", "--filter", f"label={OWNER_LABEL}", "--format", f'{{{{.ID}}}} {{{{.Label "{OWNER_LABEL}"}}}}'],
        check=True,
        capture_output=True,
        text=True,
    )
    for line in listed.stdout.splitlines():
        container, _, owner = line.partition(" ")
        if not os.path.exists(f"/proc/{owner}"):
            # Another session may be removing it too.
            subprocess.run(["docker", "rm", "-f", container], check=False, capture_output=True)
