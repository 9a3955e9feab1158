"""What a program sees of the network, by the word in config.yaml."""

import pytest

from schemas.status import Status
from tests.integration.runner.conftest import MakeHub

LOOK = """
import os, socket
print(sorted(os.listdir("/sys/class/net")))
print([line.split()[1] for line in open("/proc/net/route")][1:])
try:
    socket.getaddrinfo("example.org", 80)
except OSError as error:
    print("no name:", type(error).__name__)
try:
    socket.create_connection(("192.0.2.1", 80), timeout=2)
except OSError as error:
    print("no way:", error.errno)
server = socket.create_server(("127.0.0.1", 0))
print("loopback:", socket.create_connection(server.getsockname(), timeout=5) is not None)
"""


@pytest.mark.parametrize("where", ["program", "settings"])
async def test_without_a_network_there_is_a_loopback_interface_and_nothing_else(hub: MakeHub, where: str) -> None:
    around = hub(LOOK, settings={"network": "none"}) if where == "settings" else hub(LOOK, network="none")
    async with around.runner():
        ended = await around.ended(await around.submit())

    assert ended.status is Status.COMPLETED, ended.stderr.content
    assert ended.stdout.content == "['lo']\n[]\nno name: gaierror\nno way: 101\nloopback: True\n"


async def test_a_program_has_docker_s_own_network_unless_it_says_otherwise(hub: MakeHub) -> None:
    around = hub("import os; print(sorted(os.listdir('/sys/class/net')))")
    async with around.runner():
        ended = await around.ended(await around.submit())

    assert ended.stdout.content == "['eth0', 'lo']\n"
