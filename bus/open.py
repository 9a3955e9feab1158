"""Choosing the bus by its address."""

from pathlib import Path

from bus.ports import Bus

#: The address of the bus that needs no server.
EMBEDDED = "embedded"


def make_bus(url: str, *, state_dir: Path, name: str) -> Bus:
    """The bus at this address, not open yet.

    Args:
        url: ``embedded``, or the address of a RabbitMQ: ``amqp://user:password@host:port/vhost`` (``amqps`` with TLS). Of a
            cluster all hosts, with commas between them: the first that answers is used, and the next one once it does not.
        state_dir: an existing folder of this process alone, for what the bus keeps.
        name: how a server shows this process, for people.

    Raises:
        BadBusUrl: it is neither. The text has nothing of the address, which may hold a password.
    """
    # Each bus is imported when it is wanted: an embedded hub starts sooner, and stays smaller, without the AMQP library.
    if url == EMBEDDED:
        from bus.embedded.bus import EmbeddedBus

        return EmbeddedBus(state_dir=state_dir)
    from bus.rabbitmq.bus import RabbitBus

    return RabbitBus(url, state_dir=state_dir, name=name)
