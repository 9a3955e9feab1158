"""What is wrong with this process, gathered from its parts."""

from collections.abc import Callable, Mapping

from bus.ports import Bus

#: Says what is wrong with one part, or ``None``; never waits.
Probe = Callable[[], str | None]


class Health:
    """Asks the parts when it is asked."""

    def __init__(
        self,
        bus: Bus,
        probes: Mapping[str, Probe],
        versions: Mapping[str, Probe] | None = None,
        *,
        needed: Probe = lambda: None,
    ) -> None:
        """``probes`` maps names that people read to the parts' own words; the bus is asked anyway. ``versions`` are asked which
        version of something they use. While ``needed`` has something to say, nothing can be accepted.
        """
        self._bus = bus
        self._probes = probes
        self._versions = versions or {}
        self._needed = needed

    def problems(self) -> dict[str, str]:
        """Component → what is wrong with it; empty where all is well."""
        found = {name: problem for name, probe in self._probes.items() if (problem := probe())}
        state = self._bus.state
        if state.problem or not state.connected:
            found["bus"] = state.problem or "not connected"
        return found

    def versions(self) -> dict[str, str]:
        """What is used by this process and not part of it → which version was found."""
        return {name: version for name, probe in self._versions.items() if (version := probe())}

    def ready(self) -> bool:
        """Whether an execution can be accepted now: that takes the bus, and room on the disk."""
        return self._bus.state.connected and self._needed() is None
