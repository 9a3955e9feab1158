"""Names, keys and patterns."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import topology
from bus.messages import StreamName

WORD = st.sampled_from(["a", "b", "execution"])
PATTERN = st.lists(st.sampled_from(["a", "b", "execution", "*", "#"]), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("execution.#", "execution.failed.p", True),
        ("execution.#", "execution", True),
        ("execution.*.billing_bot", "execution.failed.billing_bot", True),
        ("execution.*", "execution.failed.p", False),
        ("execution.failed.#", "execution.running.p", False),
        ("#", "anything.at.all", True),
        ("#.p", "execution.failed.p", True),
        ("*", "two.words", False),
        ("execution.failed", "execution.failedx", False),
    ],
)
def test_a_pattern_matches_as_a_topic_exchange_does(pattern: str, key: str, expected: bool) -> None:
    assert topology.matches([pattern], key) is expected


@given(PATTERN, st.lists(WORD, min_size=1, max_size=6))
def test_a_pattern_matches_like_the_regular_expression_of_its_words(pattern: list[str], words: list[str]) -> None:
    pieces = {"*": r"[^.]+\.", "#": r"(?:[^.]+\.)*"}
    expression = "".join(pieces.get(word, re.escape(word) + r"\.") for word in pattern)
    expected = re.fullmatch(expression, ".".join(words) + ".") is not None
    assert topology.matches([".".join(pattern)], ".".join(words)) is expected


def test_no_pattern_matches_nothing() -> None:
    assert not topology.matches([], "execution.failed.p")


@pytest.mark.parametrize("name", ["#", "*", "a.b", "", "a b", "x" * 65, "default\n"])
def test_a_pool_is_one_plain_word(name: str) -> None:
    with pytest.raises(ValueError, match="can't name a pool"):
        topology.execute_key(name)
    with pytest.raises(ValueError, match="can't name a pool"):
        topology.work_queue(name)


@pytest.mark.parametrize("name", ["", "a/b", "#", "x" * 129])
def test_a_subscription_has_a_plain_name(name: str) -> None:
    with pytest.raises(ValueError, match="can't name a subscription"):
        topology.subscriber_queue(name)


def test_a_work_queue_never_drops_what_was_confirmed() -> None:
    arguments = topology.work_queue("default").arguments
    assert arguments["x-queue-type"] == "quorum"
    assert arguments["x-overflow"] == "reject-publish"
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments["x-dead-letter-routing-key"] == topology.DEAD


def test_a_command_lives_a_third_as_long_as_its_decision_can_be_read() -> None:
    assert topology.work_queue("default").arguments["x-message-ttl"] == 24 * 3600 * 1000
    assert topology.QUEUES_BY_NAME[topology.CONTROL].arguments["x-max-age"] == "3D"


def test_bus8_every_stream_with_an_age_has_segments_small_enough_for_it() -> None:
    streams = [queue for queue in topology.QUEUES if queue.arguments["x-queue-type"] == "stream"]
    assert {stream.name for stream in streams} == {
        "hub.log",
        "hub.output",
        "hub.control",
        "hub.leases",
        "hub.state",
        "hub.dead",
    }
    for stream in streams:
        assert int(stream.arguments["x-stream-max-segment-size-bytes"]) <= 100_000_000
        assert ("x-max-age" in stream.arguments) is (stream.name != topology.STATE)


def test_bus3_the_log_is_bound_for_each_pool_and_never_by_a_wildcard() -> None:
    assert not [binding for binding in topology.BINDINGS if binding.exchange == topology.COMMANDS and "#" in binding.key]
    assert not any(topology.matches([binding.key], "retry.other") for binding in topology.BINDINGS)
    work, log, *_ = topology.pool_bindings("other")
    assert (work.key, work.queue) == ("execute.other", "hub.work.other")
    assert (log.key, log.queue) == ("execute.other", topology.LOG)


def test_m8_a_further_attempt_reaches_its_pool_and_the_log_from_where_no_stranger_may_write() -> None:
    *_, work, log = topology.pool_bindings("other")
    assert (work.exchange, work.key, work.queue) == (topology.REPORTS, "retry.other", "hub.work.other")
    assert (log.exchange, log.key, log.queue) == (topology.REPORTS, "retry.other", topology.LOG)
    with pytest.raises(ValueError, match="can't name a pool"):
        topology.retry_key("#")


@pytest.mark.parametrize("binding", [*topology.BINDINGS, *topology.pool_bindings("other")])
def test_the_stream_behind_a_key_is_the_one_that_is_bound_there(binding: topology.Binding) -> None:
    bound = {*topology.BINDINGS, *topology.pool_bindings("other")}
    streams = {queue.name for queue in topology.QUEUES if queue.is_stream}
    key = binding.key.replace("#", "a.b")
    taking = {other.queue for other in bound if other.exchange == binding.exchange and topology.matches([other.key], key)}
    assert {topology.stream_behind(binding.exchange, key)} == taking & streams


def test_behind_questions_and_behind_a_work_queue_is_no_stream() -> None:
    assert topology.stream_behind(topology.QUESTIONS, topology.question_key("r")) == ""
    assert topology.stream_behind("", "hub.work.default") == ""
    assert topology.stream_behind("", topology.ANNOUNCER) == ""
    assert topology.stream_behind("", topology.DEAD) == topology.DEAD


def test_a_report_has_a_key_of_its_stream() -> None:
    topology.check_report_key(StreamName.LOG, "execution.running.p")
    topology.check_report_key(StreamName.OUTPUT, "output.p.x")
    topology.check_report_key(StreamName.STATE, "state.kind")
    for stream, key in ((StreamName.LOG, "output.p.x"), (StreamName.OUTPUT, "control.claim"), (StreamName.LOG, "execution")):
        with pytest.raises(ValueError, match="begins with"):
            topology.check_report_key(stream, key)


@pytest.mark.parametrize("runner_id", ["", "#", "*", "a b", "a/b", "x" * 65, "one\n"])
def test_a_question_goes_to_one_runner(runner_id: str) -> None:
    for name in (topology.question_key, lambda runner_id: topology.question_queue(runner_id, "nonce")):
        with pytest.raises(ValueError, match="can't name a runner"):
            name(runner_id)


@pytest.mark.parametrize("asker", ["", "#", "amq.gen-x", "0" * 31, "0" * 32 + "\n"])
def test_an_answer_goes_to_one_asker(asker: str) -> None:
    with pytest.raises(ValueError, match="names no asker"):
        topology.answer_key(asker)


def test_what_waits_for_a_runner_or_an_asker_is_bounded_and_refused_above() -> None:
    for queue in (topology.question_queue("one", "nonce"), topology.answer_queue("0" * 32)):
        assert queue.arguments["x-overflow"] == "reject-publish"
        assert "x-max-length" in queue.arguments or "x-max-length-bytes" in queue.arguments
