"""Three RabbitMQ nodes that are one cluster, to be killed, frozen and cut off one at a time.

The nodes speak with each other on a network of their own, and with clients through ports of this machine: a node that is cut
off from the others can still be reached by clients, which is the harder case.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.support.broker import IMAGE, OWNER_LABEL, speaks_amqp
from tests.support.docker import docker
from tests.support.ports import free_port

NUMBER = 3
#: Seconds for all nodes to start and to find each other.
_START_LIMIT_SECONDS = 120.0
#: Seconds of silence after which nodes believe each other gone (by default 60), and seconds that they then wait for an answer
#: to a new connection (by default 7): for so long a frozen one holds up all.
_TICK_SECONDS = 8
_SETUP_SECONDS = 1
_SETTINGS = """\
cluster_formation.peer_discovery_backend = rabbit_peer_discovery_classic_config
cluster_partition_handling = pause_minority
"""


class Node:
    """One server of the cluster."""

    def __init__(self, name: str, network: str, port: int) -> None:
        self.name = name
        self._network = network
        #: Where clients find it.
        self.port = port

    def create(self, names: list[str], cookie: str) -> None:
        """Make its container, not started."""
        peers = "".join(f"cluster_formation.classic_config.nodes.{at} = rabbit@{name}\n" for at, name in enumerate(names, 1))
        script = (
            'unset ERL_EPMD_ADDRESS; umask 077; printf %s "$COOKIE" >"$HOME/.erlang.cookie"; '
            'printf %s "$SETTINGS" >/etc/rabbitmq/conf.d/50-cluster.conf; exec start-rabbitmq'
        )
        variables = {
            "RABBITMQ_DEFAULT_USER": "hub",
            "RABBITMQ_DEFAULT_PASS": "hub",
            "RABBITMQ_NODENAME": f"rabbit@{self.name}",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel net_ticktime {_TICK_SECONDS} net_setuptime {_SETUP_SECONDS}",
            "COOKIE": cookie,
            "SETTINGS": _SETTINGS + peers,
        }
        options = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
        options += ["--label", f"{OWNER_LABEL}={os.getpid()}", "--publish", f"127.0.0.1:{self.port}:5672"]
        docker("create", "--name", self.name, "--hostname", self.name, *options, IMAGE, "bash", "-c", script)
        self.heal()

    def start(self) -> None:
        """Start it, for the first time or after it was killed."""
        docker("start", self.name)

    def kill(self) -> None:
        """SIGKILL: it is gone at once, and its data stay."""
        docker("kill", self.name)

    def restart(self) -> None:
        """Stop it at once, and start it."""
        docker("restart", "--time", "0", self.name)

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does, with all its connections open."""
        docker("pause", self.name)

    def thaw(self) -> None:
        """Let it go on."""
        docker("unpause", self.name)

    def cut(self) -> None:
        """Take it off the network of the nodes; clients still reach it."""
        docker("network", "disconnect", self._network, self.name)

    def heal(self) -> None:
        """Put it onto the network of the nodes."""
        docker("network", "connect", self._network, self.name)

    def answers(self) -> bool:
        """Whether it speaks AMQP."""
        return speaks_amqp(self.port)

    def control(self, *words: str, limit_seconds: float = 60.0) -> str:
        """Run rabbitmqctl on it; what it printed."""
        command = ["docker", "exec", self.name, "rabbitmqctl", "--quiet", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_seconds)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def remove(self) -> None:
        """Gone for good."""
        docker("rm", "--force", "--volumes", self.name, check=False)


class Cluster:
    """Its nodes, and what one asks of all of them."""

    def __init__(self) -> None:
        self._network = f"hub-test-{os.getpid()}-{uuid4().hex[:6]}"
        names = [f"{self._network}-{number}" for number in range(1, NUMBER + 1)]
        self.nodes = [Node(name, self._network, free_port()) for name in names]

    def start(self) -> None:
        """Start all nodes, and wait until they are one cluster."""
        docker("network", "create", "--internal", "--label", f"{OWNER_LABEL}={os.getpid()}", self._network)
        cookie = uuid4().hex
        for node in self.nodes:
            node.create([node.name for node in self.nodes], cookie)
        with ThreadPoolExecutor(max_workers=NUMBER) as threads:
            list(threads.map(Node.start, self.nodes))
        self.wait_until_whole()

    def wait_until_whole(self, within_seconds: float = _START_LIMIT_SECONDS) -> None:
        """Wait until all nodes run and see each other."""
        deadline = time.monotonic() + within_seconds
        while True:
            running = self._running()
            if running == [NUMBER] * NUMBER:
                return
            if time.monotonic() > deadline:
                logs = "".join(docker("logs", "--tail", "30", node.name, check=False) for node in self.nodes)
                raise AssertionError(f"no cluster within {within_seconds} s: each sees {running}: {logs}")
            time.sleep(0.5)

    def url(self, vhost: str = "%2F", *, first: int = 0) -> str:
        """The address of all nodes, beginning with this one."""
        hosts = [f"127.0.0.1:{node.port}" for node in (*self.nodes[first:], *self.nodes[:first])]
        return f"amqp://hub:hub@{','.join(hosts)}/{vhost}"

    def new_vhost(self) -> str:
        """A virtual host that nobody has used."""
        name = f"test-{uuid4().hex[:8]}"
        self.nodes[0].control(
            "eval",
            f"""V = <<"{name}">>, U = <<"hub">>, A = <<".*">>, rabbit_vhost:add(V, U),
                rabbit_auth_backend_internal:set_permissions(U, V, A, A, A, U), ok.""",
        )
        return name

    def queues(self, vhost: str) -> str:
        """How its queues and consumers are, for people."""
        columns = ("name", "messages_ready", "messages_unacknowledged", "consumers", "leader", "online")
        node = self.nodes[0]
        return node.control("list_queues", "-p", vhost, *columns) + node.control("list_consumers", "-p", vhost)

    def remove(self) -> None:
        """Everything, for good."""
        for node in self.nodes:
            node.remove()
        docker("network", "rm", self._network, check=False)

    def _running(self) -> list[int]:
        """How many nodes of the cluster run, as each running node sees it; empty where one does not answer clients."""
        if not all(node.answers() for node in self.nodes):
            return []
        question = "[length(erpc:call(N, rabbit_nodes, all_running, [], 5000)) || N <- rabbit_nodes:all_running()]."
        try:
            numbers: list[int] = json.loads(self.nodes[0].control("eval", question, limit_seconds=20))
        except (AssertionError, ValueError, subprocess.TimeoutExpired):
            return []
        return numbers


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes, whole; whoever breaks one mends it."""
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()
