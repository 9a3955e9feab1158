"""Choosing the bus by its address."""

import subprocess
import sys
from pathlib import Path

import pytest

from bus.embedded.bus import EmbeddedBus
from bus.errors import BadBusUrl
from bus.open import make_bus
from bus.rabbitmq.bus import RabbitBus


async def test_the_address_chooses_the_bus(tmp_path: Path) -> None:
    assert isinstance(make_bus("embedded", state_dir=tmp_path, name="x"), EmbeddedBus)
    for url in ("amqp://user:word@rabbit:5672/vhost", "amqps://rabbit", "amqp://[::1]:5672/"):
        assert isinstance(make_bus(url, state_dir=tmp_path, name="x"), RabbitBus)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "embeded",
        "redis://user:hunter2@host",
        "amqp://user:hunter2@",
        "amqp:///vhost",
        "amqp://user:hunter2@host:port/",
        "amqp://user:hunter2@host:99999/",
        "amqp://user:hunter2@[::1/",
        "host:5672",
    ],
)
def test_an_address_that_can_not_be_used_is_refused_without_its_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(BadBusUrl) as refused:
        make_bus(url, state_dir=tmp_path, name="x")
    error: BaseException | None = refused.value
    while error is not None:
        assert "hunter2" not in str(error)
        error = error.__cause__


def test_an_embedded_hub_does_without_the_amqp_library() -> None:
    code = (
        "import sys, bus.open, bus.embedded.bus; sys.exit(any(name.startswith(('aio_pika', 'aiormq')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0
