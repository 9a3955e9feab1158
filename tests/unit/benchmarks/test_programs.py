"""The measured programs, in versions that know more or less of config.yaml."""

import pytest

from tests.benchmarks.programs import ENTRIES, NETWORK, PRELOAD, WARM, entry, lacking

EVERYTHING = frozenset({WARM, NETWORK, PRELOAD})


@pytest.mark.parametrize("program", ENTRIES)
def test_a_version_that_knows_all_keys_runs_all_programs_as_they_are_meant(program: str) -> None:
    assert lacking(program, EVERYTHING) is None
    assert entry(program, EVERYTHING) == ENTRIES[program]


def test_a_program_that_can_not_be_run_as_it_is_meant_is_lacking_something() -> None:
    assert lacking("warm", frozenset()) == "config.yaml knows no `warm`"
    assert lacking("preload", frozenset({WARM})) == "config.yaml knows no `preload`"
    assert lacking("warm_none", frozenset()) == "config.yaml knows no `network` and no `warm`"


def test_a_cold_one_needs_no_key() -> None:
    assert lacking("cold", frozenset()) is None
    assert entry("cold", frozenset()) == {}
