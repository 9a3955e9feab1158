"""Celery, with confirms."""

from celery import Celery

from tests.benchmarks.peers.ping import amqp_url, ping
from tests.benchmarks.peers.sending import serve

app = Celery("bench", broker=amqp_url())
app.conf.update(broker_transport_options={"confirm_publish": True}, task_ignore_result=True)


@app.task(name="bench.ping")
def reached(port: int, number: int) -> None:
    """The handler."""
    ping(port, number)


if __name__ == "__main__":
    serve(lambda port, number: reached.delay(port, number))
