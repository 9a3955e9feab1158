"""The figures that it is held to: what is divided by what, the bar, and the goal. Pure data."""

from dataclasses import dataclass
from enum import StrEnum

from tests.benchmarks.samples import Statistic

P50, P95 = Statistic.P50, Statistic.P95


class Better(StrEnum):
    """Which way is better."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True, slots=True)
class Quotient:
    """One series ÷ another, round by round; without a denominator, the series itself."""

    numerator: str
    denominator: str | None
    statistic: Statistic = P50


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with its bar and its goal."""

    key: str
    title: str
    better: Better
    bar: float
    goal: float
    quotient: Quotient
    #: What the goal is held against, where that is another one than for the bar.
    goal_quotient: Quotient | None = None
    #: Related figures that are reported with it and have no bar.
    beside: tuple[tuple[str, Quotient], ...] = ()


def _latency(above: str, below: str, statistic: Statistic = P50) -> Quotient:
    return Quotient(f"latency_ms/{above}", f"latency_ms/{below}", statistic)


def _saturated(callers: int, bar: float, goal: float) -> Figure:
    def of(above: str, below: str) -> Quotient:
        return Quotient(f"saturated_{callers}_per_second/{above}", f"saturated_{callers}_per_second/{below}")

    return Figure(
        f"saturated_{callers}",
        f"completions a second, {callers} at a time: ours with `network: none` ÷ `docker run --rm`",
        Better.HIGHER,
        bar,
        goal,
        of("ours_none", "docker_run"),
        beside=(
            ("both on a bridge", of("ours", "docker_run")),
            ("both without a network", of("ours_none", "docker_run_none")),
            ("ours cold without a network ÷ `docker run --rm`", of("ours_cold_none", "docker_run")),
            ("ours cold, both on a bridge", of("ours_cold", "docker_run")),
            ("ours on a bridge ÷ an aiodocker loop", of("ours", "aiodocker")),
        ),
    )


FIGURES = (
    Figure(
        "warm_p50",
        "`docker run --rm` ÷ ours warm, p50",
        Better.HIGHER,
        15,
        25,
        _latency("docker_run", "warm"),
        beside=(
            ("on the embedded bus", _latency("docker_run", "embedded_warm")),
            ("an aiodocker loop ÷ ours warm", _latency("aiodocker", "warm")),
        ),
    ),
    Figure(
        "warm_p95",
        "`docker run --rm` ÷ ours warm, p95",
        Better.HIGHER,
        9,
        15,
        _latency("docker_run", "warm", P95),
        beside=(("on the embedded bus", _latency("docker_run", "embedded_warm", P95)),),
    ),
    Figure(
        "warm_none_p50",
        "`docker run --rm --network none` ÷ ours warm with `network: none`, p50",
        Better.HIGHER,
        10,
        18,
        _latency("docker_run_none", "warm_none"),
    ),
    Figure(
        "cold_p50",
        "`docker run --rm` ÷ ours cold, same network, p50",
        Better.HIGHER,
        1.3,
        1.6,
        _latency("docker_run", "cold"),
        beside=(
            ("both without a network", _latency("docker_run_none", "cold_none")),
            ("on the embedded bus", _latency("docker_run", "embedded_cold")),
            ("an aiodocker loop ÷ ours cold", _latency("aiodocker", "cold")),
        ),
    ),
    Figure(
        "preload_p50",
        "`docker run --rm` ÷ ours with a preloaded interpreter, p50",
        Better.HIGHER,
        25,
        40,
        _latency("docker_run", "preload"),
    ),
    Figure(
        "burst8",
        "8 at once, all done: `docker run --rm` ÷ ours with a pool of 8",
        Better.HIGHER,
        8,
        10,
        Quotient("burst8_ms/docker_run", "burst8_ms/warm"),
        beside=(("cold", Quotient("burst8_ms/docker_run", "burst8_ms/cold")),),
    ),
    _saturated(2, 2.5, 3.5),
    _saturated(8, 2.0, 3.0),
    Figure(
        "vs_subprocess",
        "ours warm ÷ an unsandboxed subprocess on the same path, p50 (goal: preloaded)",
        Better.LOWER,
        1.4,
        0.8,
        _latency("warm", "subprocess"),
        goal_quotient=_latency("preload", "subprocess"),
        beside=(("preloaded", _latency("preload", "subprocess")), ("cold", _latency("cold", "subprocess"))),
    ),
    Figure(
        "publish_vs_aio_pika",
        "command published → handler, p50: ours ÷ raw aio-pika on the same kind of queue",
        Better.LOWER,
        1.3,
        1.1,
        Quotient("publish_ms/ours", "publish_ms/aio_pika"),
        beside=(
            ("÷ raw aio-pika on a classic queue", Quotient("publish_ms/ours", "publish_ms/aio_pika_classic")),
            ("with the claim, ÷ raw aio-pika", Quotient("publish_ms/ours_claimed", "publish_ms/aio_pika")),
            ("÷ FastStream", Quotient("publish_ms/ours", "publish_ms/faststream")),
            ("÷ dramatiq", Quotient("publish_ms/ours", "publish_ms/dramatiq")),
            ("÷ taskiq", Quotient("publish_ms/ours", "publish_ms/taskiq")),
        ),
    ),
    Figure(
        "publish_vs_celery",
        "command published → handler, p50: ours ÷ Celery",
        Better.LOWER,
        0.5,
        0.4,
        Quotient("publish_ms/ours", "publish_ms/celery"),
        beside=(("with the claim, ÷ Celery", Quotient("publish_ms/ours_claimed", "publish_ms/celery")),),
    ),
    Figure(
        "gateway_accept",
        "accepts a second (auth, validation, durable) ÷ the same handler without publish",
        Better.HIGHER,
        0.45,
        0.6,
        Quotient("accepts_per_second/ours", "accepts_per_second/no_publish"),
        beside=(
            ("both without the projector", Quotient("accepts_per_second/ours_alone", "accepts_per_second/no_publish")),
            ("accepts ÷ Celery's `delay()`, one by one", Quotient("accepts_per_second/ours", "enqueued_per_second/celery")),
        ),
    ),
    Figure(
        "projector_batch",
        "events projected a second, batched ÷ one commit an event, both `synchronous=FULL`",
        Better.HIGHER,
        8,
        15,
        Quotient("projected_per_second/batched", "projected_per_second/one_by_one"),
    ),
    Figure(
        "memory_million",
        "gateway's memory with 1,000,000 queued ÷ with 1,000",
        Better.LOWER,
        1.2,
        1.05,
        Quotient("gateway_mib/1000000", "gateway_mib/1000"),
    ),
    Figure("warm_mib", "MiB of an idle warm container", Better.LOWER, 10, 7, Quotient("warm_mib/container", None)),
)

BY_KEY = {figure.key: figure for figure in FIGURES}
