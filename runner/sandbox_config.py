"""A network sandbox: a container that does nothing but hold a network of its own, for one program after the other. Pure."""

from typing import Any

from runner import labels
from runner.container_config import JOINED, Joint, hardened
from runner.identity import Identity
from schemas.programs import Network

#: How the names of sandboxes begin.
PREFIX = "pyexecutorhub-network-"

_MEMORY_BYTES = 32 * 1024**2
_NANO_CPUS = 100_000_000
# The agent is one process, but Docker's own one before it has about ten threads, and a start now and then fails where they
# are refused.
_PIDS_LIMIT = 32
#: The columns of /proc/net/dev, behind the name, that count packets in and out.
_PACKETS = (1, 9)

# Says, whenever it is asked, what the loopback interface has carried so far. The text is fixed, and the shell runs nothing.
_AGENT = """
while read -r question; do
  while read -r name counts; do
    case $name in lo:*) echo "$question $name $counts" ;; esac
  done </proc/net/dev
done
"""


def joint_of(container: dict[str, Any]) -> Joint:
    """What is to be shared of this sandbox, by Docker's description of it."""
    files = {"/etc/hosts": "HostsPath", "/etc/hostname": "HostnamePath", "/etc/resolv.conf": "ResolvConfPath"}
    return Joint(container["Id"], tuple((place, container[key]) for place, key in files.items()))


def joined(network_mode: str) -> str | None:
    """The id of the container whose network is joined; ``None`` where a container has one of its own."""
    return network_mode.removeprefix(JOINED) if network_mode.startswith(JOINED) else None


def sandbox_body(image_id: str, identity: Identity) -> dict[str, Any]:
    """The body of a sandbox. It sees nothing of any program, and is asked things over its stdin."""
    return _body(image_id, identity, _AGENT, Network.NONE)


def bridge_body(image_id: str, identity: Identity) -> dict[str, Any]:
    """The body of what holds a bridge for one program. Nobody says anything to it."""
    return _body(image_id, identity, "read -r never", Network.BRIDGE)


def _body(image_id: str, identity: Identity, agent: str, network: Network) -> dict[str, Any]:
    return {
        "Image": image_id,
        "Entrypoint": [""],
        "Cmd": ["sh", "-c", agent],
        "User": "65534:65534",
        "WorkingDir": "/",
        "Labels": {
            labels.MANAGED: "true",
            labels.INSTANCE: identity.instance,
            labels.RUNNER_ID: identity.runner_id,
            labels.NETWORK_SANDBOX: "true",
        },
        "Tty": False,
        "OpenStdin": True,
        # When its runner dies, a program may still be in it.
        "StdinOnce": False,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": False,
        "HostConfig": {
            **hardened(
                [],
                memory_bytes=_MEMORY_BYTES,
                nano_cpus=_NANO_CPUS,
                pids_limit=_PIDS_LIMIT,
                network_mode=network.value,
            ),
            "ReadonlyRootfs": True,
            "LogConfig": {"Type": "none", "Config": {}},
        },
    }


def packets_of(answer: bytes, question: int) -> int | None:
    """How many packets the loopback interface has carried since the sandbox was made; ``None`` where this is no answer."""
    asked, _, said = answer.partition(b" ")
    name, _, counts = said.partition(b":")
    columns = counts.split()
    try:
        if int(asked) != question or name != b"lo":
            return None
        return sum(int(columns[place]) for place in _PACKETS)
    except (ValueError, IndexError):
        return None
