"""What is written and printed."""

import json
from typing import Any


def document(bench: Any, took_seconds: float) -> dict[str, Any]:
    from tests.benchmarks.verdicts import judge

    return {
        "ratios": {j.figure.key: j.to_json() for j in judge(bench.measured, bench.reasons)},
        "profiles": bench.profiles,
        "measured": bench.measured,
        "honesty": bench.proofs.to_json(),
        "notes": bench.notes,
        "took": took_seconds,
    }


def text(told: dict[str, Any]) -> str:
    return json.dumps(told, indent=1)
