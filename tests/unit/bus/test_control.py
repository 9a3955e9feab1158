"""Records of the control stream: what they are, their exchange and key say."""

import pytest
from aiormq.abc import DeliveredMessage
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.header import ContentHeader

from bus import topology
from bus.messages import Claim, End, Proposal
from bus.rabbitmq import control
from schemas.ids import execution_id_of

ID = "0190a8b4-7c3e-7000-8000-0123456789ab"
CLAIM = Claim(execution_id="x", attempt=1, epoch="e", nonce="n", digest="d")


def record(body: bytes, exchange: str, key: str) -> DeliveredMessage:
    deliver = commands.Basic.Deliver(consumer_tag="c", delivery_tag=1, exchange=exchange, routing_key=key)
    return DeliveredMessage(delivery=deliver, header=ContentHeader(), body=body, channel=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "proposal",
    [
        CLAIM,
        End(execution_id=ID, reason="cancelled", requested_by="ana", why="took too long"),
        End(execution_id=ID, reason="cancelled"),
        End(execution_id="x", reason="expired", why="a day has gone"),
    ],
)
def test_a_proposal_is_read_as_it_was_written(proposal: Proposal) -> None:
    exchange, key = control.route_of(proposal)
    assert control.parse(record(control.to_message(proposal).body, exchange, key)) == proposal


def test_a_cancel_goes_where_anybody_may_write_and_all_else_where_only_services_may() -> None:
    assert control.route_of(CLAIM) == (topology.REPORTS, "control.claim")
    assert control.route_of(End(execution_id="x", reason="cancelled")) == (topology.COMMANDS, "cancel")
    assert control.route_of(End(execution_id="x", reason="expired")) == (topology.REPORTS, "control.end")


def test_publishing_the_same_claim_again_has_the_same_id() -> None:
    assert control.to_message(CLAIM).id == control.to_message(CLAIM).id == "x:1:n"


def test_a_claim_that_came_in_where_anybody_may_write_is_none() -> None:
    body = control.to_message(CLAIM).body
    assert control.parse(record(body, topology.COMMANDS, topology.CLAIM_KEY)) is None


def test_kinds_of_later_versions_are_left_alone() -> None:
    assert control.parse(record(b"?", topology.REPORTS, "control.something_newer")) is None


def test_a_cancel_has_its_own_reason_whatever_its_body_says() -> None:
    body = b'{"execution_id": "%s", "reason": "expired", "more": 1}' % ID.encode()
    assert control.parse(record(body, topology.COMMANDS, topology.CANCEL_KEY)) == End(
        execution_id=ID, reason="cancelled", why="expired"
    )


def test_a_cancel_may_name_the_message_id_that_its_command_was_published_with() -> None:
    for message_id, execution_id in (("job-17", execution_id_of("job-17")), (ID.upper(), ID)):
        body = b'{"execution_id": "%s"}' % message_id.encode()
        assert control.parse(record(body, topology.COMMANDS, topology.CANCEL_KEY)) == End(
            execution_id=execution_id, reason="cancelled"
        )


@pytest.mark.parametrize("body", [b'{"execution_id": ""}', b'{"execution_id": "%s"}' % (b"x" * 256), b'{"execution_id": null}'])
def test_a_cancel_of_what_can_be_no_id_is_malformed(body: bytes) -> None:
    with pytest.raises(control.MalformedRecord):
        control.parse(record(body, topology.COMMANDS, topology.CANCEL_KEY))


def test_of_what_strangers_write_only_so_much_is_kept() -> None:
    body = b'{"execution_id": "%s", "reason": "%s", "requested_by": "%s"}' % (ID.encode(), b"y" * 9_000, b"z" * 9_000)
    end = control.parse(record(body, topology.COMMANDS, topology.CANCEL_KEY))
    assert isinstance(end, End)
    assert (end.why, end.requested_by) == ("y" * 500, "z" * 256)


@pytest.mark.parametrize(
    "change",
    [
        (b'"attempt":1', b'"attempt":0'),
        (b'"attempt":1', b'"attempt":"1"'),
        (b'"attempt":1', b'"attempt":1e999'),
        (b'"attempt":1', b'"attempt":9223372036854775808'),
        (b'"nonce":"n"', b'"nonce":null'),
        (b'"nonce":"n",', b""),
        (b'"nonce":"n"', b'"nonce":"\\ud800"'),
    ],
)
def test_a_claim_with_a_mistake_is_malformed(change: tuple[bytes, bytes]) -> None:
    body = control.to_message(CLAIM).body
    assert change[0] in body
    with pytest.raises(control.MalformedRecord):
        control.parse(record(body.replace(*change), topology.REPORTS, topology.CLAIM_KEY))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_proposal_or_malformed(body: bytes) -> None:
    for exchange, key in (
        (topology.REPORTS, topology.CLAIM_KEY),
        (topology.REPORTS, topology.END_KEY),
        (topology.COMMANDS, topology.CANCEL_KEY),
    ):
        with pytest.raises(control.MalformedRecord):
            control.parse(record(body, exchange, key))
