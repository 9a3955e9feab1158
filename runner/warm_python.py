"""The agent of a warm container with a preloaded interpreter. Its text is run inside the container, by whatever Python is
there: it does with 3.7, and with a library that has little more than what an interpreter needs to start.

The modules of ``preload`` are imported first. Then each line on stdin is a step: it is run in a child, which goes on as the
program itself where that is a Python file, with all that was imported. :mod:`runner.warm_agent` says what is written around it.
"""

import ast
import builtins
import gc
import importlib
import importlib.machinery
import os
import signal
import sys
import time
import types

TYPE_CHECKING = False  # the module of that name may not be there
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_CGROUP = sys.argv[3] if len(sys.argv) > 3 else "/sys/fs/cgroup/"
#: Characters of an error that are told.
_MOST_TOLD = 100


def _read(*names: str) -> str:
    for name in names:
        try:
            with open(_CGROUP + name) as file:
                return file.read()
        except OSError:
            continue
    return ""


def _preload(names: "list[str]") -> "dict[str, str]":
    """Import these modules; what is wrong with those that could not be, by name."""
    if sys.path[:1] == [""]:
        # What lies in the program's folder is read when the program runs, and not before.
        del sys.path[0]
    out, err = os.dup(1), os.dup(2)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    failed = {}
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as error:  # whatever it raises: the program will meet it itself
            failed[name] = f"{type(error).__name__}: {error}"[:_MOST_TOLD]
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(out, 1)
    os.dup2(err, 2)
    for descriptor in (out, err, null):
        os.close(descriptor)
    return failed


def _json(text: str) -> str:
    """A text as JSON has it; there may be no module for that."""
    plain = (c if " " <= c <= "~" and c not in '"\\' else f"\\u{min(ord(c), 0xFFFD):04x}" for c in text)
    return '"' + "".join(plain) + '"'


def _say_ready(failed: "dict[str, str]") -> None:
    used = _read("memory.current", "memory/memory.usage_in_bytes").strip() or "0"
    told = ",".join(f"{_json(name)}:{_json(why)}" for name, why in failed.items())
    line = f'pyexecutorhub-ready {{"memory_bytes":{used},"fits":true,"failed":{{{told}}}}}\n'
    os.write(1, line.encode())


def _kills() -> "int | None":
    """How many processes were killed for want of memory so far; ``None`` where that can't be told."""
    for line in _read("memory.events", "memory/memory.oom_control").splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return None


def _lines() -> "Iterator[dict[str, Any]]":
    """What the lines of stdin say, read from the descriptor: nothing of it may stay in a buffer of this process."""
    pending = b""
    while True:
        line, newline, rest = pending.partition(b"\n")
        if newline:
            pending = rest
            yield ast.literal_eval(line.decode())
            continue
        piece = os.read(0, 65536)
        if not piece:
            return
        pending += piece


def _frame(nonce: str, text: str) -> None:
    frame = f"\x1e{nonce} {text}\n".encode()
    for descriptor in (1, 2):
        done = 0
        while done < len(frame):
            done += os.write(descriptor, frame[done:])


def _serve(kill_rest: bool) -> "dict[str, Any]":
    """Run what is asked for, until stdin ends. Returns in each child, with what it is to be."""
    code = 125
    # Waited for, never handled: a handler's turn may come just before a call that waits, which then waits on.
    awaited = {signal.SIGTERM, signal.SIGCHLD}

    for job in _lines():
        signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
        terms = 0
        kills_before = _kills()
        _frame(job["nonce"], "begin")
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, awaited)
            return job
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                break
            if signal.sigwait(awaited) == signal.SIGTERM:
                terms += 1
                os.kill(pid, signal.SIGTERM)
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if kill_rest:
            try:
                os.kill(-1, signal.SIGKILL)
            except OSError:
                pass  # nobody is left
        terms += signal.SIGTERM in signal.sigpending()
        kills = _kills()
        kills = -1 if kills is None or kills_before is None else kills - kills_before
        _frame(job["nonce"], f"end {code} {kills} {terms}")
        if code >= 128 or kills != 0 or terms:
            break
        signal.pthread_sigmask(signal.SIG_UNBLOCK, awaited)
    os._exit(code)


def _settle_in(job: "dict[str, Any]") -> None:
    """Be in the place of a process of the program's own."""
    os.setpgid(0, 0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null != 0:
        os.close(null)
    os.environ.update(job["env"])
    if "TZ" in job["env"]:
        time.tzset()
    if job["folder"]:
        os.chdir(job["folder"])


def _start(argv: "list[str]") -> None:
    """Be this command."""
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        is_missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        why = "not found" if is_missing else error.strerror
        os.write(2, f"sh: exec: {argv[0]}: {why}\n".encode())
        os._exit(127 if is_missing else 126)


def _become_main(argv: "list[str]") -> "tuple[types.ModuleType, bytes, str]":
    """The main module that a Python file is, not run yet, with its source and its path."""
    path = os.path.abspath(argv[0])
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        os.write(2, f"python: can't open file '{path}': [Errno {error.errno}] {error.strerror}\n".encode())
        os._exit(2)
    sys.argv[:] = argv
    if hasattr(sys, "orig_argv"):
        sys.orig_argv = ["python", *argv]
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    main = types.ModuleType("__main__")
    main.__dict__.update(
        __file__=path,
        __builtins__=builtins,
        __cached__=None,
        __annotations__={},
        __loader__=importlib.machinery.SourceFileLoader("__main__", path),
    )
    sys.modules["__main__"] = main
    return main, source, path


if __name__ == "__main__":
    _say_ready(_preload(ast.literal_eval(sys.argv[1])))
    gc.collect()
    gc.freeze()
    _job = _serve(sys.argv[2:3] == ["all"])
    _settle_in(_job)
    if _job["argv"][0] != "python" or not _job["argv"][1].endswith(".py"):
        _start(_job["argv"])
    _main, _source, _path = _become_main(_job["argv"][1:])
    try:
        exec(compile(_source, _path, "exec", dont_inherit=True), _main.__dict__)
    except SystemExit:
        raise
    except BaseException as _error:
        # As the interpreter itself would tell it, which then goes on to end as it would have: without the frame that is here.
        _trace = _error.__traceback__ and _error.__traceback__.tb_next
        sys.excepthook(type(_error), _error.with_traceback(_trace), _trace)
        sys.excepthook = lambda *_: None
        raise
