"""Since when a pool has no command anywhere, neither in its queue nor in a runner's hands, as far as anybody can know. Pure."""

from collections.abc import Sequence

from bus.messages import Lease

#: Seconds for which a runner that fell silent may still have commands in hand: after as long RabbitMQ, unless told
#: otherwise, takes back what was not acknowledged.
ABSENT_SECONDS = 1800.0


class PoolCalm:
    """Told every few seconds what is seen of one pool. Times are of one monotonic clock, in seconds.

    A queue with nothing ready is not an empty one: what was pushed to a runner is not counted there. And a runner that has
    something in hand need not be heard: it may be frozen, or cut off.
    """

    def __init__(self, *, longest_step_seconds: float, absent_seconds: float = ABSENT_SECONDS) -> None:
        """Whoever looks less often than every ``longest_step_seconds`` has seen nothing."""
        self._longest_step_seconds = longest_step_seconds
        self._absent_seconds = absent_seconds
        self._since: float | None = None
        self._looked_at: float | None = None
        #: By runner id, when it was heard last.
        self._heard_at: dict[str, float] = {}

    @property
    def since(self) -> float | None:
        """Since when it is calm, up to the last look; ``None`` where it is not."""
        return self._since

    @property
    def heard(self) -> int:
        """How many runners it keeps in mind."""
        return len(self._heard_at)

    def look(self, now: float, waiting: int | None, leases: Sequence[Lease]) -> None:
        """One look: how many commands are ready (``None``: nobody knows), and the leases of the pool's live runners."""
        for lease in leases:
            self._heard_at[lease.runner_id] = now
        self._heard_at = {name: at for name, at in self._heard_at.items() if now - at < self._absent_seconds}
        late = self._looked_at is not None and now - self._looked_at > self._longest_step_seconds
        self._looked_at = now
        if waiting != 0 or not self._nothing_in_hand(leases):
            self._since = None
        elif self._since is None or late:
            self._since = now

    def disturb(self) -> None:
        """Something was put into its queue, whatever the next look sees of that."""
        self._since = None

    def _nothing_in_hand(self, leases: Sequence[Lease]) -> bool:
        # Where no runner says anything, nobody knows. One that was there a while ago and is silent now may have something.
        all_there = self._heard_at.keys() == {lease.runner_id for lease in leases}
        return bool(leases) and all_there and all(lease.unsettled == 0 for lease in leases)
