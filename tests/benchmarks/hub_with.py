"""The hub's own command line with something of it exchanged, as environment variables say.

``python -m tests.benchmarks.hub_with gateway --config …`` is ``python -m hub gateway --config …``, and

=======================  =============================================================================
``BENCH_MARKS=FILE``      notes in a file when executions pass which point (:mod:`tests.benchmarks.marks`)
``BENCH_ENGINE``          ``subprocess``: runs programs without any sandbox
``BENCH_WITHOUT``         ``publish``: accepts without telling the bus; ``projector``: reads nothing; with a comma: both
=======================  =============================================================================
"""

import asyncio
import os
from typing import Any


def _exchange_engine() -> None:
    import hub.runner_role
    from tests.benchmarks.subprocess_engine import SubprocessEngine

    vars(hub.runner_role)["Engines"] = lambda *_args, **_options: SubprocessEngine()


def _leave_out(names: list[str]) -> None:
    import gateway.overlay

    # What never comes into the view stays in there.
    vars(gateway.overlay)["MAX_EXECUTIONS"] = 10**9
    defaults: dict[str, Any] = gateway.overlay.Overlay.__init__.__kwdefaults__ or {}
    defaults["max_executions"] = 10**9
    if "publish" in names:
        from bus.rabbitmq.commands import RabbitCommands

        async def accept(self: Any, pool: str, message: Any) -> None:
            """Nobody is told."""

        setattr(RabbitCommands, "accept", accept)  # noqa: B010 -- mypy knows better than to assign to a method
    if "projector" in names:
        from hub.projector import Projector

        async def run(self: Any) -> None:
            await asyncio.Event().wait()

        setattr(Projector, "run", run)  # noqa: B010


def main() -> None:
    """Exchange what is to be exchanged, and play the hub."""
    if os.environ.get("BENCH_ENGINE") == "subprocess":
        _exchange_engine()
    if without := os.environ.get("BENCH_WITHOUT"):
        _leave_out(without.split(","))
    if path := os.environ.get("BENCH_MARKS"):
        from tests.benchmarks.marks import wrap_all

        wrap_all(path)
    from hub.__main__ import main as hub_main

    hub_main()


if __name__ == "__main__":
    main()
