"""The agents of warm containers, as processes without a container: with each shell that is here, and with this Python."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.steps import Step
from runner.warm_agent import SHELL_AGENT, Ready, parse_ready, python_agent
from runner.warm_frames import Begin, End, FrameDecoder, nonces_of
from runner.warm_job import MOST_JOB_BYTES, Job, python_line, shell_line

NONCES = nonces_of("secret")
#: Writes what it was given in a form that shows each character.
SHOWS = """
import os, sys
print(ascii(sys.argv[1:]), ascii({name: os.environ[name] for name in sorted(os.environ) if name.startswith("PARAM_")}))
"""


@dataclass
class Agent:
    """An agent, with what it takes for its control group."""

    kind: str
    cgroup: Path
    preload: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def start(self) -> subprocess.Popen[bytes]:
        # Never with the word that has it end everything else: that is for containers alone.
        words = ["sh", "", str(self.cgroup)]
        command = [self.kind, "-c", SHELL_AGENT, *words]
        if self.kind == "python":
            command = [sys.executable, "-c", python_agent(), ascii(list(self.preload)), "", f"{self.cgroup}/"]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **self.env},
            start_new_session=True,
        )

    def line(self, job: Job) -> bytes:
        line = python_line(job) if self.kind == "python" else shell_line(job)
        assert line is not None
        return line

    def run(self, *jobs: Job) -> "Said":
        """What it says to these jobs, one after the other."""
        with self.start() as process:
            out, err = process.communicate(b"".join(map(self.line, jobs)), timeout=60)
        return Said.of(out, err, process.returncode)


@dataclass(frozen=True)
class Said:
    """What an agent and its steps wrote."""

    ready: Ready | None
    out: list[bytes | Begin | End]
    err: list[bytes | Begin | End]
    code: int

    @classmethod
    def of(cls, out: bytes, err: bytes, code: int) -> "Said":
        found_out, found_err = (list(FrameDecoder(NONCES).feed(stream)) for stream in (out, err))
        return cls(parse_ready(out.partition(b"\n")[0]), found_out, found_err, code)

    @property
    def end(self) -> End:
        last, other = self.out[-1], self.err[-1]
        assert isinstance(last, End)
        assert last == other
        return last


@pytest.fixture(params=["dash", "bash", "python"])
def agent(request: pytest.FixtureRequest, cgroup: Path) -> Agent:
    return Agent(request.param, cgroup)


@pytest.fixture(autouse=True, scope="module")
def _signals_as_in_a_container() -> Iterator[None]:
    """Whoever runs the tests in the background of a script has some ignored, which everything that they start would inherit."""
    ways = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGQUIT)}
    yield
    for number, way in ways.items():
        signal.signal(number, way)


@pytest.fixture(scope="module")
def cgroup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cgroup")
    (folder / "memory.events").write_text("low 0\noom 0\noom_kill 0\n")
    (folder / "memory.current").write_text("4096\n")
    yield folder


def program(folder: Path, text: str, name: str = "main.py") -> str:
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return str(path)


def job(*argv: str, step: Step = Step.PROGRAM, **env: Any) -> Job:
    return Job(NONCES[step], argv, env)


def test_streams_are_apart_and_exact_and_the_exit_code_is_told(agent: Agent, tmp_path: Path) -> None:
    text = r"""
    import os, sys
    os.write(1, b"\x00\xff\x1e no line break")
    os.write(2, bytes(range(256)))
    sys.exit(7)
    """
    said = agent.run(job("python", program(tmp_path, text)))
    assert said.ready == Ready(4096, fits=True)
    assert said.end == End(Step.PROGRAM, 7, 0, 0)
    assert b"".join(each for each in said.out if isinstance(each, bytes)) == b"\x00\xff\x1e no line break"
    assert b"".join(each for each in said.err if isinstance(each, bytes)) == bytes(range(256))
    assert said.code == 7


NASTY = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(NASTY, max_size=3), values=st.lists(NASTY, max_size=3))
def test_whatever_a_user_wrote_arrives_as_it_was(agent: Agent, tmp_path: Path, arguments: list[str], values: list[str]) -> None:
    variables: dict[str, Any] = {f"PARAM_{number}": value for number, value in enumerate(values)}
    agent = Agent(agent.kind, agent.cgroup, env={"LC_ALL": "C.UTF-8"})
    said = agent.run(job("python", program(tmp_path, SHOWS), *arguments, **variables))
    assert said.out[1:-1] == [f"{arguments!a} {variables!a}\n".encode()]


@pytest.mark.parametrize(
    "value", ["'", "\\", "$(id)", "`id`", '"', "a\nb\n", "\t ", "é\x81\x88", "!", "*", "~", "\x01\x7f", ""]
)
def test_quotes_line_breaks_and_what_shells_keep_for_themselves_arrive(agent: Agent, tmp_path: Path, value: str) -> None:
    agent = Agent(agent.kind, agent.cgroup, env={"LC_ALL": "C.UTF-8"})
    said = agent.run(job("python", program(tmp_path, SHOWS), value, PARAM_A=value))
    assert said.out[1:-1] == [f"{[value]!a} { {'PARAM_A': value}!a}\n".encode()]


def test_a_program_finds_what_it_would_find_anywhere(agent: Agent, tmp_path: Path) -> None:
    text = """
    import os, signal, sys
    print(sys.stdin.read() == "", sorted(set(os.environ) - {"LC_CTYPE", "_"}), sys.argv)
    print([signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGQUIT)] == [signal.SIG_DFL] * 2)
    print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, __name__, os.path.basename(__file__))
    print(sorted(os.listdir("/proc/self/fd"))[:3])
    """
    path = program(tmp_path, text)
    said = agent.run(job("python", path, "-x", PARAM_A="1"))
    told = b"".join(each for each in said.out if isinstance(each, bytes)).decode()
    assert told.splitlines() == [
        f"True ['PARAM_A', 'PATH'] {[path, '-x']}",
        "True",
        "True __main__ main.py",
        "['0', '1', '2']",
    ]


def test_steps_share_an_agent_and_not_their_variables(agent: Agent, tmp_path: Path) -> None:
    path = program(tmp_path, SHOWS)
    jobs = [job("python", path, step=Step.BEFORE, PARAM_A="1"), job("python", path, PARAM_B="2")]
    said = agent.run(*jobs)
    assert [each for each in said.out if not isinstance(each, bytes)] == [
        Begin(Step.BEFORE),
        End(Step.BEFORE, 0, 0, 0),
        Begin(Step.PROGRAM),
        End(Step.PROGRAM, 0, 0, 0),
    ]
    assert [each for each in said.out if isinstance(each, bytes)] == [b"[] {'PARAM_A': '1'}\n", b"[] {'PARAM_B': '2'}\n"]


def test_a_missing_command_is_told_in_the_words_of_a_shell(agent: Agent) -> None:
    said = agent.run(job("no-such-command"))
    assert said.end.code == 127
    (told,) = [each for each in said.err if isinstance(each, bytes)]
    assert told.startswith(b"sh: ")
    assert told.endswith(b"exec: no-such-command: not found\n")


@pytest.mark.parametrize(
    ("program_text", "code"), [("import os; os.kill(os.getpid(), 9)", 137), ("import os; os.abort()", 134)]
)
def test_after_an_end_by_a_signal_the_agent_ends_with_that(agent: Agent, tmp_path: Path, program_text: str, code: int) -> None:
    path = program(tmp_path, program_text)
    said = agent.run(job("python", path), job("python", path, step=Step.AFTER))
    assert (said.end, said.code) == (End(Step.PROGRAM, code, 0, 0), code)


def test_sigterm_is_handed_on_and_the_programs_own_answer_to_it_is_told(agent: Agent, tmp_path: Path) -> None:
    text = """
    import os, signal, sys, time
    def terminate(*_):
        os.write(1, b"told to end\\n")  # the one before may still be being printed
        sys.exit(9)
    signal.signal(signal.SIGTERM, terminate)
    print("here", flush=True)
    time.sleep(60)
    """
    with agent.start() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(agent.line(job("python", program(tmp_path, text))))
        process.stdin.flush()
        seen = b""
        while b"here\n" not in seen:
            piece = os.read(process.stdout.fileno(), 4096)
            assert piece, seen
            seen += piece
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    said = Said.of(seen + out, err, process.returncode)
    assert b"told to end\n" in seen + out
    assert (said.end, said.code) == (End(Step.PROGRAM, 9, 0, 1), 9)


def test_an_agent_without_a_job_ends_with_its_stdin_or_at_sigterm(agent: Agent) -> None:
    said = agent.run()
    assert (said.out, said.err, said.code) == ([], [], 125)
    with agent.start() as process:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 4096).startswith(b"pyexecutorhub-ready ")
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM


def test_half_a_job_is_none(agent: Agent, tmp_path: Path) -> None:
    line = agent.line(job("python", program(tmp_path, "open('ran', 'w')")))
    with agent.start() as process:
        out, err = process.communicate(line[:-1], timeout=60)
    said = Said.of(out, err, process.returncode)
    assert (said.out, said.err, said.code) == ([], [], 125)


def test_fault17_processes_that_were_killed_for_want_of_memory_are_counted(agent: Agent, tmp_path: Path) -> None:
    events = agent.cgroup.parent / f"{agent.kind}-kills"
    events.mkdir(exist_ok=True)
    (events / "memory.events").write_text("oom_kill 2\n")
    text = f"open({str(events / 'memory.events')!r}, 'w').write('oom_kill 3\\n')"
    said = Agent(agent.kind, events).run(job("python", program(tmp_path, text)))
    assert said.end == End(Step.PROGRAM, 0, 1, 0)


def test_where_nobody_counts_them_it_says_so(agent: Agent, tmp_path: Path) -> None:
    said = Agent(agent.kind, tmp_path).run(job("python", program(tmp_path, "")))
    assert said.end == End(Step.PROGRAM, 0, None, 0)


def test_what_a_shell_can_not_be_told_makes_no_job() -> None:
    assert shell_line(Job("", ("x",), {"not-a-name": "1"})) is None
    assert shell_line(job("x", IFS="1")) is None
    assert shell_line(job("x", BASH_ENV="1")) is None
    for line in (shell_line, python_line):
        assert line(job("x" * MOST_JOB_BYTES)) is None


# Python's agent alone


def test_a_traceback_is_the_programs_own(cgroup: Path, tmp_path: Path) -> None:
    path = program(tmp_path, "def fail():\n    raise ValueError('no')\nfail()\n")
    direct = subprocess.run([sys.executable, path], capture_output=True)
    said = Agent("python", cgroup).run(job("python", path))
    assert (said.end.code, said.err[1:-1]) == (1, [direct.stderr])


@pytest.mark.parametrize(
    "text",
    [
        "x = (",
        "import sys; sys.exit('a message')",
        "raise KeyboardInterrupt",
        "import atexit, threading\natexit.register(print, 'at exit')\nthreading.Thread(target=lambda: print('thread')).start()",
        "import signal; signal.raise_signal(signal.SIGINT)",
        "import sys; print(sys.path[0], __spec__, __package__, __doc__, sorted(globals()))",
        "import sys; print(sys.modules['__main__'].__dict__ is globals(), sys.argv, sys.flags)",
        "'a docstring'\nprint(__doc__)\nclass A: pass\nimport pickle\nprint(type(pickle.loads(pickle.dumps(A()))))",
        "import multiprocessing\ndef f(x): return x + 1\nif __name__ == '__main__':\n"
        "  with multiprocessing.get_context('spawn').Pool(1) as p: print(p.map(f, [1]))",
        "# -*- coding: latin-1 -*-\nprint(ascii('\\xe9'))",
        "import os; os.execv('/bin/sh', ['sh', '-c', 'echo replaced; exit 4'])",
    ],
)
def test_a_program_is_the_main_module_as_in_an_interpreter_of_its_own(cgroup: Path, tmp_path: Path, text: str) -> None:
    path = program(tmp_path, text)
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    direct = subprocess.run([sys.executable, path], capture_output=True, stdin=subprocess.DEVNULL, env=env)
    said = Agent("python", cgroup, preload=["json"]).run(job("python", path))
    code = direct.returncode if direct.returncode >= 0 else 128 - direct.returncode
    assert said.end.code == code
    assert b"".join(each for each in said.out if isinstance(each, bytes)) == direct.stdout
    assert b"".join(each for each in said.err if isinstance(each, bytes)) == direct.stderr


def test_modules_are_there_already_and_one_that_can_not_be_imported_is_told(cgroup: Path, tmp_path: Path) -> None:
    agent = Agent("python", cgroup, preload=["xml.dom", "no_such_module"])
    said = agent.run(job("python", program(tmp_path, "import sys; print('xml.dom' in sys.modules)")))
    assert said.out[1:-1] == [b"True\n"]
    assert said.ready is not None
    assert said.ready.failed == {"no_such_module": "ModuleNotFoundError: No module named 'no_such_module'"}


def test_what_lies_in_the_programs_folder_is_not_imported_before_the_program_runs(cgroup: Path, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("print('imported')")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        said = Agent("python", cgroup, preload=["helper"]).run(job("python", program(tmp_path, "import helper")))
    assert said.ready is not None
    assert list(said.ready.failed) == ["helper"]
    assert said.out[1:-1] == [b"imported\n"]


@given(st.binary(max_size=60))
def test_what_is_no_word_of_an_agent_is_none(line: bytes) -> None:
    for text in (line, b"pyexecutorhub-ready " + line):
        ready = parse_ready(text)
        assert ready is None or isinstance(ready, Ready)
