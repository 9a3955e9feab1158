"""Sizes, durations and processor shares (P10, P12, P13)."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import BadQuantity
from schemas.quantities import parse_bytes, parse_nano_cpus, parse_seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("1g", 1024**3),
        ("512m", 512 * 1024**2),
        ("1.5GB", 3 * 512 * 1024**2),
        ("64KiB", 65536),
        ("100", 100),
        (7, 7),
        ("2t", 2 * 1024**4),
    ],
)
def test_a_size_is_read_as_docker_reads_it(written: object, size: int) -> None:
    assert parse_bytes(written) == size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(300, 300), ("300", 300), ("5m", 300), ("1h30m", 5400), ("1.5s", 1.5), ("250ms", 0.25), (0.5, 0.5), ("2m500ms", 120.5)],
)
def test_a_duration_is_read_as_go_writes_it(written: object, seconds: float) -> None:
    assert parse_seconds(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "nano"), [("0.5", 500_000_000), (2, 2_000_000_000), (0.25, 250_000_000), ("0.001", 1_000_000)]
)
def test_a_processor_share_becomes_dockers_unit(written: object, nano: int) -> None:
    assert parse_nano_cpus(written) == nano


@pytest.mark.parametrize("parse", [parse_bytes, parse_seconds, parse_nano_cpus])
@pytest.mark.parametrize(
    "written", ["", "lots", "-1", 0, -3, None, True, [], {}, "1 2", "1x", "nan", float("nan"), float("inf"), "1e400"]
)
def test_nonsense_is_refused_with_a_text_that_shows_how_to_write_it(parse: object, written: object) -> None:
    assert callable(parse)
    with pytest.raises(BadQuantity, match=r"is not a (size|duration|number of processors)"):
        parse(written)


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.lists(st.integers())))
def test_anything_at_all_is_either_a_quantity_or_a_bad_quantity(written: object) -> None:
    for parse in (parse_bytes, parse_seconds, parse_nano_cpus):
        with contextlib.suppress(BadQuantity):
            assert parse(written) > 0
