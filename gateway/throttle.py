"""Slows down whoever guesses passwords."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Failures:
    count: int = 0
    #: Monotonic seconds before which no attempt is let through.
    blocked_until: float = 0.0
    last_at: float = 0.0


class _Table:
    """Failures by name; the ones that were quiet longest are forgotten first."""

    def __init__(self, size: int, quiet_seconds: float) -> None:
        self._size = size
        self._quiet_seconds = quiet_seconds
        self._rows: OrderedDict[str, _Failures] = OrderedDict()

    def get(self, name: str, now: float) -> _Failures | None:
        row = self._rows.get(name)
        if row is not None and now - row.last_at > self._quiet_seconds:
            del self._rows[name]
            return None
        return row

    def touch(self, name: str, now: float) -> _Failures:
        row = self.get(name, now) or _Failures()
        row.last_at = now
        self._rows[name] = row
        self._rows.move_to_end(name)
        if len(self._rows) > self._size:
            self._rows.popitem(last=False)
        return row

    def forget(self, name: str) -> None:
        self._rows.pop(name, None)


class Throttle:
    """After a few failed logins of an account or from an address, each further attempt waits, twice as long every time.

    Above a number of attempts a second, whoever makes them, all wait: checking a password is costly on purpose.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        free_failures: int = 5,
        longest_seconds: float = 60.0,
        quiet_seconds: float = 900.0,
        attempts_per_second: int = 20,
        table_size: int = 10_000,
    ) -> None:
        """``clock`` is monotonic; failures are forgotten after ``quiet_seconds`` without another."""
        self._clock = clock
        self._free_failures = free_failures
        self._longest_seconds = longest_seconds
        self._accounts = _Table(table_size, quiet_seconds)
        self._addresses = _Table(table_size, quiet_seconds)
        self._attempts_per_second = attempts_per_second
        self._tokens = float(attempts_per_second)
        self._refilled_at = clock()

    def wait_seconds(self, account: str, address: str) -> float:
        """0 where an attempt may be made now, and is then counted; else the seconds to wait before asking again."""
        now = self._clock()
        rows = [row for row in (self._accounts.get(account, now), self._addresses.get(address, now)) if row is not None]
        if (wait := max((row.blocked_until - now for row in rows), default=0.0)) > 0:
            return wait
        if (wait := self._take_token(now)) > 0:
            return wait
        for row in rows:
            # Blocks before the result is known: attempts made at the same time must not share one permission.
            if row.count >= self._free_failures:
                row.blocked_until = now + self._delay_seconds(row.count)
        return 0.0

    def failed(self, account: str, address: str) -> None:
        """The attempt had a wrong user or password."""
        now = self._clock()
        for row in (self._accounts.touch(account, now), self._addresses.touch(address, now)):
            row.count += 1
            if row.count >= self._free_failures:
                row.blocked_until = now + self._delay_seconds(row.count)

    def succeeded(self, account: str, address: str) -> None:
        """The attempt was right: its account starts anew. Its address does not, lest one account shield guesses at others."""
        self._accounts.forget(account)
        if (row := self._addresses.get(address, self._clock())) is not None:
            row.blocked_until = 0.0

    def _delay_seconds(self, failures: int) -> float:
        # The exponent is bounded as well, or a patient guesser would overflow it.
        return min(2.0 ** min(failures - self._free_failures, 30), self._longest_seconds)

    def _take_token(self, now: float) -> float:
        self._tokens = min(self._attempts_per_second, self._tokens + (now - self._refilled_at) * self._attempts_per_second)
        self._refilled_at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._attempts_per_second
        self._tokens -= 1
        return 0.0
