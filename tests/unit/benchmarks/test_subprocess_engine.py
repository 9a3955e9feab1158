"""The engine without a sandbox does what its comparison needs."""

from pathlib import Path

from runner.engine import Engine, Exit
from runner.run_spec import RunSpec
from schemas.output import StreamName
from tests.benchmarks.subprocess_engine import SubprocessEngine


def spec(folder: Path, text: str) -> RunSpec:
    (folder / "main.py").write_text(text, encoding="utf-8")
    return RunSpec(
        execution_id="x",
        attempt=1,
        program_id="p",
        image="i",
        argv=("python", "main.py"),
        env={"PARAM_NAME": "somebody"},
        host_folder=str(folder),
        memory_bytes=1,
        nano_cpus=1,
        pids_limit=1,
        timeout_seconds=1,
        stop_grace_seconds=1,
        action_timeout_seconds=60,
        labels={},
    )


async def test_it_runs_a_program_to_its_end_with_all_of_its_output(tmp_path: Path) -> None:
    engine: Engine = SubprocessEngine()
    wanted = spec(tmp_path, "import os, sys; print(os.environ['PARAM_NAME'] * 50_000); sys.stderr.write('e'); sys.exit(7)")
    await engine.prepare(wanted)
    await engine.start(wanted.name)

    frames = [frame async for frame in engine.output(wanted.name)]

    assert b"".join(frame.content for frame in frames if frame.stream is StreamName.STDOUT) == b"somebody" * 50_000 + b"\n"
    assert b"".join(frame.content for frame in frames if frame.stream is StreamName.STDERR) == b"e"
    assert await engine.wait(wanted.name) == Exit(7)
    await engine.destroy(wanted.name)
    assert await engine.find(wanted.name) is None


async def test_what_runs_is_ended_when_it_is_closed(tmp_path: Path) -> None:
    engine = SubprocessEngine()
    wanted = spec(tmp_path, "import time; time.sleep(600)")
    await engine.prepare(wanted)
    await engine.start(wanted.name)

    await engine.close()

    assert await engine.list_ours() == []
