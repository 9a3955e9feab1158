"""The nodes of a RabbitMQ cluster, as one address names them, and which of them is connected to next."""

from urllib.parse import urlsplit

from bus.errors import BadBusUrl

_SHAPE = "amqp://user:password@host:port/vhost, or with several nodes amqp://user:password@host1,host2,host3/vhost"


def node_urls(url: str) -> tuple[str, ...]:
    """The address of each node, in the order in which they were named.

    Raises:
        BadBusUrl: this is no address of a RabbitMQ. The text has nothing of it: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        scheme, place = parts.scheme, parts.netloc
    except ValueError:
        # The reason quotes what it could not read: not even as a cause may it go on.
        raise _unreadable() from None
    if scheme not in ("amqp", "amqps"):
        raise BadBusUrl('the address of the bus must be "embedded", or begin with amqp:// or amqps://')
    user, at, hosts = place.rpartition("@")
    urls = tuple(parts._replace(netloc=f"{user}{at}{host.strip()}").geturl() for host in hosts.split(","))
    for node in urls:
        try:
            host, _ = urlsplit(node).hostname, urlsplit(node).port
        except ValueError:
            raise _unreadable() from None
        if not host:
            raise BadBusUrl(f"the address of the bus names no host, or has a comma too many: {_SHAPE}")
    return urls


def _unreadable() -> BadBusUrl:
    return BadBusUrl(
        f"the address of the bus is no URL: is there a character in the password to write as %XX? It looks like {_SHAPE}"
    )


class Nodes:
    """All connections of a process go to one node, until somebody finds that it is no good any more; then to the next one."""

    def __init__(self, url: str) -> None:
        """``url``: see :func:`node_urls`.

        Raises:
            BadBusUrl: it is no address.
        """
        self._urls = node_urls(url)
        self._at = 0

    def __len__(self) -> int:
        return len(self._urls)

    @property
    def current(self) -> str:
        """Where to connect now."""
        return self._urls[self._at]

    def leave(self, url: str) -> None:
        """This node is no good. Where others of the process have left it already, nothing changes."""
        if url == self.current:
            self._at = (self._at + 1) % len(self._urls)
