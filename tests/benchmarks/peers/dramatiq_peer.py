"""dramatiq, with confirms."""

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from tests.benchmarks.peers.ping import amqp_url, ping
from tests.benchmarks.peers.sending import serve

broker = RabbitmqBroker(url=amqp_url(), confirm_delivery=True)
dramatiq.set_broker(broker)


@dramatiq.actor
def reached(port: int, number: int) -> None:
    """The handler."""
    ping(port, number)


if __name__ == "__main__":
    serve(lambda port, number: reached.send(port, number) and None)
