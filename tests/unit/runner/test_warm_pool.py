"""What a pool keeps, and what tells its containers apart."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import labels
from runner.container_config import ImageCommand, create_body
from runner.run_spec import RunSpec
from runner.steps import Step
from runner.warm_job import MOST_JOB_BYTES
from runner.warm_plan import body_of, is_preloaded, key_of, plan_warm
from runner.warm_pool import LATELY_SECONDS, Demand, Kept, PoolLimits, changes, shares
from schemas.programs import Network

MIB = 1024**2
IMAGE = ImageCommand(image_id="sha256:1", entrypoint=("tool",), command=("--help",))
SPEC = RunSpec(
    execution_id="01a20afb-890e-728b-8a27-c7e1c8c72c78",
    attempt=1,
    program_id="example",
    image="python:3.11",
    argv=("python", "main.py", "--verbose"),
    env={"PROGRAM_ID": "example", "SECRET": "from the file", "PARAM_A": "x"},
    file_env={"SECRET": "from the file"},
    host_folder="/srv/hub/example",
    memory_bytes=512 * MIB,
    nano_cpus=500_000_000,
    pids_limit=64,
    timeout_seconds=300,
    stop_grace_seconds=10,
    action_timeout_seconds=60,
    labels={labels.MANAGED: "true", labels.EXECUTION_ID: "01a20afb", labels.PROGRAM_ID: "example", labels.EPOCH: "e"},
)


def key(spec: RunSpec, image: ImageCommand = IMAGE) -> str:
    return key_of(spec, body_of(spec, image), image)


def test_m13_a_warm_container_is_held_as_a_cold_one_is_and_knows_nothing_of_an_execution() -> None:
    cold, warm = create_body(SPEC, IMAGE), body_of(SPEC, IMAGE)
    different = {name for name in cold if cold[name] != warm[name]}
    assert different == {"Cmd", "Env", "Labels", "OpenStdin", "StdinOnce", "AttachStdin"}
    assert warm["Env"] == ["SECRET=from the file"]
    assert warm["Labels"] == {labels.MANAGED: "true", labels.PROGRAM_ID: "example", labels.EPOCH: "e", labels.WARM: "true"}
    assert (warm["OpenStdin"], warm["StdinOnce"]) == (True, True)


@pytest.mark.parametrize(
    "change",
    [
        {"image": "python:3.12"},
        {"memory_bytes": 64 * MIB},
        {"nano_cpus": 1_000_000_000},
        {"pids_limit": 1},
        {"network": Network.NONE},
        {"user": "1000:1000"},
        {"host_folder": "/elsewhere"},
        {"mounted": ("1:2",)},
        {"host_actions": "/srv/hub/actions"},
        {"host_ca_bundle": "/etc/ca.crt"},
        {"file_env": {}},
        {"preload": ("requests",)},
        {"argv": None},
        {"labels": {**SPEC.labels, labels.EPOCH: "another"}},
    ],
)
def test_a_container_that_was_made_otherwise_is_another(change: dict[str, object]) -> None:
    assert key(replace(SPEC, **change)) != key(SPEC)  # type: ignore[arg-type]


def test_an_image_that_was_built_again_makes_another() -> None:
    assert key(SPEC, replace(IMAGE, image_id="sha256:2")) != key(SPEC)
    assert key(SPEC, replace(IMAGE, create_from="pyexecutorhub-env:1")) != key(SPEC)


def test_what_is_an_executions_own_makes_none() -> None:
    other = replace(
        SPEC,
        execution_id="02",
        attempt=2,
        env={**SPEC.env, "PARAM_B": "y"},
        argv=("python", "main.py"),
        timeout_seconds=1,
        labels={**SPEC.labels, labels.EXECUTION_ID: "02", labels.DEADLINE: "soon"},
    )
    assert key(other) == key(SPEC)


def test_a_plan_has_the_whole_command_line_and_only_the_variables_that_the_container_lacks() -> None:
    plan = plan_warm(SPEC, IMAGE)
    assert plan is not None
    assert (plan.argv, plan.env) == (("python", "main.py", "--verbose"), {"PROGRAM_ID": "example", "PARAM_A": "x"})
    own = plan_warm(replace(SPEC, argv=None, arguments=()), IMAGE)
    assert own is not None
    assert own.argv == ("tool", "--help")
    # A parameter that is called as a variable of the file wins.
    clash = plan_warm(replace(SPEC, env={"SECRET": "from a parameter"}), IMAGE)
    assert clash is not None
    assert clash.env == {"SECRET": "from a parameter"}


def test_what_no_agent_can_be_told_is_not_run_warm() -> None:
    assert plan_warm(replace(SPEC, env={"PARAM_A": "x" * MOST_JOB_BYTES}), IMAGE) is None


def test_a_plan_remembers_what_its_further_steps_need() -> None:
    plan = plan_warm(replace(SPEC, actions=frozenset({Step.BEFORE, Step.AFTER})), IMAGE)
    assert plan is not None
    again = type(plan).model_validate_json(plan.kept(needs_steps=True).model_dump_json())
    assert [again.line(step, 3) for step in Step] == [plan.line(step, 3) for step in Step]
    assert b"EXIT_CODE='3'" in (again.line(Step.AFTER, 3) or b"")
    assert b"EXIT_CODE" not in (again.line(Step.PROGRAM, 3) or b"")
    short = plan.kept(needs_steps=False)
    assert (short.secret, short.argv, short.env) == (plan.secret, (), {})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, False),
        ({"preload": ("json",)}, True),
        ({"preload": ("json",), "argv": None}, False),
        ({"preload": ("json",), "argv": ("bash", "main.sh")}, False),
        ({"preload": ("json",), "argv": ("python", "main.txt")}, False),
    ],
)
def test_an_interpreter_is_preloaded_for_python_files_alone(change: dict[str, object], expected: bool) -> None:
    assert is_preloaded(replace(SPEC, **change)) is expected  # type: ignore[arg-type]


# How many


def test_each_gets_one_before_any_gets_two_and_the_more_important_first() -> None:
    wanted = [("a", 3), ("b", 3), ("c", 1)]
    assert shares(wanted, {}, PoolLimits(4, 1024 * MIB)) == {"a": 2, "b": 1, "c": 1}
    assert shares(wanted, {}, PoolLimits(2, 1024 * MIB)) == {"a": 1, "b": 1}
    assert shares(wanted, {}, PoolLimits(100, 1024 * MIB)) == {"a": 3, "b": 3, "c": 1}


def test_a_pool_stays_within_its_memory_as_far_as_that_was_seen() -> None:
    bytes_of = {"a": 100 * MIB, "b": 10 * MIB}
    assert shares([("a", 5), ("b", 5)], bytes_of, PoolLimits(100, 250 * MIB)) == {"a": 2, "b": 5}


COUNTS = st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(0, 5), st.integers(0, 5)))


@given(
    wanted=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 6)), max_size=6),
    there=COUNTS,
    limits=st.builds(PoolLimits, st.integers(0, 10), st.integers(0, 300 * MIB)),
)
def test_a_pool_never_grows_beyond_its_limits_and_is_settled_after_one_change(
    wanted: list[tuple[str, int]], there: dict[str, tuple[int, int]], limits: PoolLimits
) -> None:
    kept = {name: Kept(ready, making) for name, (ready, making) in there.items()}
    todo = changes(wanted, kept, limits)
    after = {}
    for name in {*kept, *todo.make}:
        before = kept.get(name, Kept())
        assert todo.drop[name] <= before.ready
        assert not (todo.drop[name] and name in todo.make)
        after[name] = Kept(before.ready - todo.drop[name] + todo.make.count(name), before.making)
    room = max(limits.containers, sum(each.making for each in kept.values()))
    assert sum(each.ready for each in after.values()) <= room
    again = changes(wanted, after, limits)
    assert (again.make, again.drop.total()) == ([], 0)


def test_what_is_wanted_no_more_is_dropped_and_what_is_missing_is_made() -> None:
    todo = changes([("new", 2)], {"old": Kept(ready=2, making=1), "new": Kept(ready=1)}, PoolLimits(8, 1024 * MIB))
    assert (todo.make, todo.drop) == (["new"], {"old": 2})


def test_programs_used_lately_are_suggested_and_the_one_used_last_comes_first() -> None:
    demand = Demand()
    demand.used("a", 0.0)
    demand.used("b", 100.0)
    demand.used("a", 200.0)
    assert demand.latest_first(200.0) == ["a", "b"]
    assert (demand.suggested("a", 200.0), demand.suggested("c", 200.0)) == (1, 0)
    assert demand.latest_first(100.0 + LATELY_SECONDS) == ["a"]
    assert demand.latest_first(200.0 + LATELY_SECONDS) == []
    assert demand.suggested("a", 200.0 + LATELY_SECONDS) == 0


def test_as_many_are_suggested_as_were_wanted_at_once_within_reason() -> None:
    demand = Demand()
    for number in range(5):
        demand.used("burst", float(number))
        demand.used("seldom", number * 60.0)
    assert (demand.suggested("burst", 300.0), demand.suggested("seldom", 300.0)) == (3, 1)
    for number in range(1000):
        demand.used("flood", number / 100)
    assert demand.suggested("flood", 10.0) == 4
