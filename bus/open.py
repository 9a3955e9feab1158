"""Choosing the bus by its address."""

from pathlib import Path
from urllib.parse import urlsplit

from bus.errors import BadBusUrl
from bus.ports import Bus

#: The address of the bus that needs no server.
EMBEDDED = "embedded"


def make_bus(url: str, *, state_dir: Path, name: str) -> Bus:
    """The bus at this address, not open yet.

    Args:
        url: ``embedded``, or the address of a RabbitMQ: ``amqp://user:password@host:port/vhost`` (``amqps`` with TLS).
        state_dir: an existing folder of this process alone, for what the bus keeps.
        name: how a server shows this process, for people.

    Raises:
        BadBusUrl: it is neither. The text has nothing of the address, which may hold a password.
    """
    # Each bus is imported when it is wanted: an embedded hub starts sooner, and stays smaller, without the AMQP library.
    if url == EMBEDDED:
        from bus.embedded.bus import EmbeddedBus

        return EmbeddedBus(state_dir=state_dir)
    _check(url)
    from bus.rabbitmq.bus import RabbitBus

    return RabbitBus(url, state_dir=state_dir, name=name)


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
    except ValueError:
        # The reason quotes what it could not read: not even as a cause may it go on.
        raise BadBusUrl("the address of the bus is no URL: is there a character in the password to write as %XX?") from None
    if scheme not in ("amqp", "amqps"):
        raise BadBusUrl(f'the address of the bus must be "{EMBEDDED}", or begin with amqp:// or amqps://')
    if not host:
        raise BadBusUrl("the address of the bus names no host: amqp://user:password@host:port/vhost")
