"""Tricks are noticed."""

from typing import Any

from tests.benchmarks.proofs import Proofs, Told


def record(output: str, exit_code: int = 0, *, execution_id: str = "one") -> dict[str, Any]:
    return {"execution_id": execution_id, "output": output, "exit_code": exit_code}


def test_fresh_containers_with_the_right_output_are_no_offence() -> None:
    proofs = Proofs()

    proofs.see("warm", record("/var/lib/a False\n"))
    proofs.see("cold", record("/var/lib/b False\n"))

    assert proofs.offences == []
    assert proofs.to_json()["containers"] == 2
    assert proofs.to_json()["runs"] == {"warm": 1, "cold": 1}


def test_a_container_that_is_used_again_is_an_offence() -> None:
    proofs = Proofs()

    proofs.see("warm", record("/var/lib/a False\n"))
    proofs.see("warm", record("/var/lib/a False\n"))

    assert proofs.offences == ["warm: the container /var/lib/a was used before"]


def test_a_marker_that_somebody_left_is_an_offence() -> None:
    proofs = Proofs()

    proofs.see("warm", record("/var/lib/a True\n"))

    assert proofs.offences == ["warm: somebody had been in the container /var/lib/a"]


def test_a_wrong_exit_code_or_output_is_an_offence() -> None:
    proofs = Proofs()

    proofs.see("warm", record("/var/lib/a False\n", 1))
    proofs.see("warm", record(""))

    assert len(proofs.offences) == 2


def test_a_check_that_fails_is_an_offence() -> None:
    proofs = Proofs()

    proofs.expect("exit code", 7, 7)
    proofs.expect("network", "host", "none")

    assert proofs.offences == ["network: 'host' instead of 'none'"]
    assert proofs.to_json()["checks"]["exit code"] == {"seen": 7, "ok": True}


def test_two_runs_in_one_container_by_the_events_are_an_offence() -> None:
    proofs = Proofs()
    for number, container in (("one", "c1"), ("two", "c1")):
        proofs.see("warm", record(f"/var/lib/{number} False\n", execution_id=number))
        proofs.hear(number, Told(container, was_warm=True))

    proofs.compare()

    assert proofs.offences == ["containers of all runs, by the events on the bus: 1 instead of 2"]


def test_it_waits_for_the_start_of_every_run_that_the_bus_tells_of() -> None:
    proofs = Proofs()
    proofs.see("warm", record("/var/lib/a False\n", execution_id="one"))
    proofs.see("embedded", record("/var/lib/b False\n", execution_id="two"), is_told_of=False)
    assert not proofs.are_all_told

    proofs.hear("one", Told("c1", was_warm=None))

    assert proofs.are_all_told


def test_runs_whose_container_had_waited_are_counted_by_variant() -> None:
    proofs = Proofs()
    for number, was_warm in (("one", True), ("two", False)):
        proofs.see("warm", record(f"/var/lib/{number} False\n", execution_id=number))
        proofs.hear(number, Told(number, was_warm))
    proofs.see("cold", record("/var/lib/c False\n", execution_id="three"))
    proofs.hear("three", Told("three", was_warm=None))

    assert proofs.warm() == {"warm": (1, 2)}
