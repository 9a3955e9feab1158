"""The one rule by which runner and fold understand a command (E5)."""

import contextlib
import json
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.commands import MAX_COMMAND_BYTES, ExecuteProgram, digest_of, parse_execute
from schemas.errors import MalformedCommand
from schemas.times import utc_now


def test_a_bare_body_with_a_message_id_is_a_complete_command() -> None:
    message_id = str(uuid4())
    execution_id, command = parse_execute(message_id, b'{"program_id": "example_script"}')
    assert execution_id == message_id
    assert command == ExecuteProgram(program_id="example_script")


def test_what_the_gateway_writes_is_read_back_unchanged() -> None:
    command = ExecuteProgram(program_id="a", parameters={"x": [1, None, "é"]}, submitted_by="me", accepted_at=utc_now())
    assert parse_execute(str(uuid4()), command.to_bytes())[1] == command


def test_a_message_id_that_is_no_uuid_becomes_the_same_one_each_time() -> None:
    first, _ = parse_execute("order-17", b'{"program_id": "a"}')
    second, _ = parse_execute("order-17", b'{"program_id": "b"}')
    assert first == second == str(UUID(first))


def test_another_spelling_of_a_uuid_is_the_same_execution() -> None:
    message_id = uuid4()
    assert parse_execute(message_id.hex.upper(), b'{"program_id": "a"}')[0] == str(message_id)


@pytest.mark.parametrize(
    ("message_id", "body", "because"),
    [
        (None, b'{"program_id": "a"}', "no message_id"),
        ("", b'{"program_id": "a"}', "no message_id"),
        ("x" * 256, b'{"program_id": "a"}', "longer than 255"),
        ("a", b"", "not JSON"),
        ("a", b"\xff\xfe", "not JSON"),
        ("a", b"[" * 100_000, "not JSON"),
        ("a", b'{"program_id": "a", "parameters": {"x": NaN}}', "not JSON"),
        ("a", b'{"program_id": "a", "parameters": {"x": "\\ud800"}}', "not JSON"),
        ("a", b'{"program_id": "a", "parameters": {"\\ud800": 1}}', "not JSON"),
        ("a", b'{"program_id": "a", "parameters": {"x": 1e999}}', "not JSON"),
        ("a", b"[]", "not an ExecuteProgram"),
        ("a", b"{}", "program_id: Field required"),
        ("a", b'{"program_id": 7}', "program_id"),
        ("a", b'{"program_id": ""}', "program_id"),
        ("a", b'{"program_id": "a", "parameters": [1]}', "parameters"),
        ("a", b'{"program_id": "a", "accepted_at": "2026-01-01T00:00:00"}', "accepted_at"),
        ("a", b'"' + b"x" * MAX_COMMAND_BYTES + b'"', "at most"),
    ],
)
def test_what_can_not_be_understood_is_refused_with_its_reason(message_id: str | None, body: bytes, because: str) -> None:
    with pytest.raises(MalformedCommand, match=because):
        parse_execute(message_id, body)


def test_a_refusal_never_repeats_the_senders_values() -> None:
    with pytest.raises(MalformedCommand) as refused:
        parse_execute("a", json.dumps({"program_id": ["hunter2"]}).encode())
    assert "hunter2" not in str(refused.value)


@given(st.one_of(st.none(), st.text()), st.binary(max_size=200))
def test_no_body_whatever_raises_anything_else(message_id: str | None, body: bytes) -> None:
    with contextlib.suppress(MalformedCommand):
        parse_execute(message_id, body)


def test_m9_the_digest_says_what_was_asked_for_and_neither_when_nor_by_whom_nor_in_what_spacing() -> None:
    one = b'{"program_id": "a", "parameters": {"x": 1, "y": ["\xc3\xb1", 1e3]}, "accepted_at": "2026-01-01T00:00:00Z"}'
    same = b'{"submitted_by":"ada","parameters":{"y":["\\u00f1",1000.0],"x":1},"program_id":"a"}'
    others = (b'{"program_id": "a"}', b'{"program_id": "b"}', b'{"program_id": "a", "parameters": {"x": "1"}}')

    assert digest_of(parse_execute("1", one)[1]) == digest_of(parse_execute("2", same)[1])
    assert len({digest_of(parse_execute("1", body)[1]) for body in (one, *others)}) == 4
