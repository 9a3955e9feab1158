"""Tricks are noticed."""

from tests.benchmarks.proofs import Proofs


def test_fresh_containers_with_the_right_output_are_no_offence() -> None:
    proofs = Proofs()

    proofs.see("warm", "/var/lib/a False\n", 0)
    proofs.see("cold", "/var/lib/b False\n", 0)

    assert proofs.offences == []
    assert proofs.to_json()["containers"] == 2
    assert proofs.to_json()["runs"] == {"warm": 1, "cold": 1}


def test_a_container_that_is_used_again_is_an_offence() -> None:
    proofs = Proofs()

    proofs.see("warm", "/var/lib/a False\n", 0)
    proofs.see("warm", "/var/lib/a False\n", 0)

    assert proofs.offences == ["warm: the container /var/lib/a was used before"]


def test_a_marker_that_somebody_left_is_an_offence() -> None:
    proofs = Proofs()

    proofs.see("warm", "/var/lib/a True\n", 0)

    assert proofs.offences == ["warm: somebody had been in the container /var/lib/a"]


def test_a_wrong_exit_code_or_output_is_an_offence() -> None:
    proofs = Proofs()

    proofs.see("warm", "/var/lib/a False\n", 1)
    proofs.see("warm", "", 0)

    assert len(proofs.offences) == 2


def test_a_check_that_fails_is_an_offence() -> None:
    proofs = Proofs()

    proofs.expect("exit code", 7, 7)
    proofs.expect("network", "host", "none")

    assert proofs.offences == ["network: 'host' instead of 'none'"]
    assert proofs.to_json()["checks"]["exit code"] == {"seen": 7, "ok": True}
