"""The nodes that one address names."""

import pytest

from bus.errors import BadBusUrl
from bus.rabbitmq.nodes import Nodes, node_urls


def test_each_host_of_an_address_is_a_node_with_the_same_user_and_virtual_host() -> None:
    assert node_urls("amqp://ana:wo,rd@a:1,b, [::1]:3/hub?x=y") == (
        "amqp://ana:wo,rd@a:1/hub?x=y",
        "amqp://ana:wo,rd@b/hub?x=y",
        "amqp://ana:wo,rd@[::1]:3/hub?x=y",
    )
    assert node_urls("amqps://a") == ("amqps://a",)


@pytest.mark.parametrize("hosts", ["a,", ",a", "a,,b", "a,b:port", "a,b:99999", "a,[::1"])
def test_an_address_with_a_host_that_is_none_is_refused_without_its_password(hosts: str) -> None:
    with pytest.raises(BadBusUrl) as refused:
        node_urls(f"amqp://ana:hunter2@{hosts}/hub")
    assert "hunter2" not in str(refused.value)
    assert "amqp://user:password@host1,host2,host3/vhost" in str(refused.value)


def test_a_node_that_is_no_good_is_left_once_by_however_many() -> None:
    nodes = Nodes("amqp://a,b,c")
    assert (len(nodes), nodes.current) == (3, "amqp://a")
    nodes.leave("amqp://a")
    nodes.leave("amqp://a")  # of another connection of the process
    assert nodes.current == "amqp://b"
    nodes.leave("amqp://b")
    nodes.leave("amqp://c")
    assert nodes.current == "amqp://a"


def test_a_single_node_stays() -> None:
    nodes = Nodes("amqp://a")
    nodes.leave("amqp://a")
    assert nodes.current == "amqp://a"
