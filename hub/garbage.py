"""Python's garbage collector in a process that runs for long."""

import gc

#: Objects made and not freed before the youngest are looked at, and how many such looks come before the older ones' turn.
#: Requests and events leave hardly any cycles behind, and by default they are looked for every few milliseconds under load.
_THRESHOLDS = 10_000, 20, 20


def spare_the_collector() -> None:
    """Look less often, and never again at what is there by now: to be called once all is made that lives as long as it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
