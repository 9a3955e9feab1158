"""Slowing down guesses, with a clock that tests turn by hand."""

from gateway.throttle import Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def fail(throttle: Throttle, times: int, account: str = "anna", address: str = "10.0.0.1") -> None:
    for _ in range(times):
        throttle.failed(account, address)


def test_the_delay_doubles_and_has_a_limit() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock, longest_seconds=60)
    fail(throttle, 4)
    assert throttle.wait_seconds("anna", "10.0.0.1") == 0
    delays = []
    for _ in range(10):
        fail(throttle, 1)
        delays.append(throttle.wait_seconds("anna", "10.0.0.1"))
        clock.now += delays[-1]

    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_account_and_address_are_slowed_down_each_for_itself() -> None:
    throttle = Throttle(clock=Clock())
    fail(throttle, 5)

    assert throttle.wait_seconds("anna", "10.0.0.2") > 0
    assert throttle.wait_seconds("bert", "10.0.0.1") > 0
    assert throttle.wait_seconds("bert", "10.0.0.2") == 0


def test_attempts_at_the_same_time_do_not_share_one_permission() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock)
    fail(throttle, 5)
    clock.now += 1

    assert throttle.wait_seconds("anna", "10.0.0.1") == 0
    assert throttle.wait_seconds("anna", "10.0.0.1") > 0


def test_a_success_clears_the_account_but_not_the_address() -> None:
    throttle = Throttle(clock=Clock())
    fail(throttle, 5)
    throttle.succeeded("anna", "10.0.0.1")

    assert throttle.wait_seconds("anna", "10.0.0.2") == 0
    fail(throttle, 1, account="bert")
    assert throttle.wait_seconds("carl", "10.0.0.1") > 0


def test_failures_are_forgotten_after_a_quiet_time() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock, quiet_seconds=900)
    fail(throttle, 20)
    clock.now += 901
    fail(throttle, 4)

    assert throttle.wait_seconds("anna", "10.0.0.1") == 0


def test_the_rate_over_all_is_limited_and_recovers() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock, attempts_per_second=20)
    waits = [throttle.wait_seconds(f"user{number}", f"10.0.0.{number}") for number in range(21)]
    assert waits[:20] == [0] * 20
    assert 0 < waits[20] <= 0.05
    clock.now += 0.051

    assert throttle.wait_seconds("anna", "10.0.0.1") == 0


def test_the_tables_are_bounded_and_forget_the_quietest_first() -> None:
    throttle = Throttle(clock=Clock(), table_size=3)
    fail(throttle, 5, account="first", address="10.0.0.1")
    for number in range(2, 5):
        fail(throttle, 5, account=f"user{number}", address=f"10.0.0.{number}")

    assert throttle.wait_seconds("first", "10.0.0.1") == 0
    assert throttle.wait_seconds("user4", "10.9.9.9") > 0
