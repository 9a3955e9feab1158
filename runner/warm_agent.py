"""What runs in a warm container before its job is there: one of two agents, whose texts are fixed. Pure.

An agent says once on stdout that it is ready. It then reads a line from stdin for each step (:mod:`runner.warm_job`), writes a
frame on both streams, runs the step, and writes another frame (:mod:`runner.warm_frames`). When stdin ends, so does it: a
container that waits for a runner which is no more is gone by itself. It ends too, with the step's exit code, after a step of
which Docker knows more than it can know itself: one that a signal ended, that was told to end, or that ran out of memory.

The shell's agent does with dash, bash and busybox. The other is Python, with modules imported before the job comes.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: What an agent says first of all.
READY = b"pyexecutorhub-ready "
#: Longest line of that.
MOST_READY_BYTES = 64 * 1024
#: Ends everything else in the container, as the end of a container's first process does. Where there is no container it would
#: end everything: so it is asked for, and only there.
_IN_A_CONTAINER = "all"

#: The shell's agent. ``eval`` gets a line that :mod:`runner.warm_job` has quoted, which sets nonce, folder, variables (a
#: function) and the command line as positional parameters.
SHELL_AGENT = """\
hub_kill_rest=$1
hub_nl='
'
# What the program writes goes to the streams as they were; what this shell itself has to say about it, nowhere.
exec 3>&2 2>/dev/null
# A shell starts what it does not wait for with SIGINT and SIGQUIT ignored, which is handed on and can't be taken back by
# itself. How a program gets them as they are anywhere else: by job control, or by a command that sets them.
hub_fits=true
hub_python='import os, signal, sys; [signal.signal(s, signal.SIG_DFL) for s in (2, 3)]; os.execvp(sys.argv[1], sys.argv[1:])'
hub_env=$(command -v env)
if [ -n "${BASH_VERSION-}" ]; then
  start() { exec "$@"; }
elif "$hub_env" --default-signal=INT,QUIT true; then
  start() { exec "$hub_env" --default-signal=INT,QUIT "$@"; }
elif hub_reset=$(command -v python3 || command -v python); then
  start() { exec "$hub_reset" -c "$hub_python" "$@"; }
else
  start() { exec "$@"; }
  hub_fits=false
fi
hub_cgroup=${2:-/sys/fs/cgroup}
hub_memory=0
for hub_file in $hub_cgroup/memory.current $hub_cgroup/memory/memory.usage_in_bytes; do
  [ -r "$hub_file" ] && read -r hub_memory <"$hub_file"
done
# How many processes were killed for want of memory so far; nothing where that can't be told.
count_kills() {
  hub_kills=
  for hub_file in $hub_cgroup/memory.events $hub_cgroup/memory/memory.oom_control; do
    [ -r "$hub_file" ] || continue
    while read -r hub_key hub_value; do
      [ "$hub_key" = oom_kill ] && hub_kills=$hub_value
    done <"$hub_file"
  done
}
frame() {
  printf '\\036%s %s\\n' "$hub_nonce" "$1"
  printf '\\036%s %s\\n' "$hub_nonce" "$1" >&3
}
hub_code=125
printf 'pyexecutorhub-ready {"memory_bytes":%s,"fits":%s}\\n' "$hub_memory" "$hub_fits"
while IFS= read -r hub_job; do
  eval "$hub_job"
  hub_terms=0 hub_pid=
  trap 'hub_terms=$((hub_terms + 1)); [ -n "$hub_pid" ] && kill -s TERM "$hub_pid"' TERM
  count_kills
  hub_kills_before=$hub_kills
  frame begin
  [ -n "${BASH_VERSION-}" ] && set -m
  (
    # Not in the shell's own way: a program would inherit what only a shell has.
    variables
    [ -n "$hub_folder" ] && cd "$hub_folder"
    unset PWD OLDPWD SHLVL
    # Where there is no such command, the shell says so.
    command -v "$1" >/dev/null && start "$@"
    exec "$@"
  ) </dev/null 2>&3 3>&- &
  hub_pid=$!
  [ -n "${BASH_VERSION-}" ] && set +m
  [ "$hub_terms" = 0 ] || kill -s TERM "$hub_pid"
  hub_waited=
  # Each SIGTERM breaks off a wait.
  while :; do
    hub_terms_before=$hub_terms
    wait "$hub_pid"
    hub_status=$?
    [ -n "$hub_waited" ] && [ "$hub_status" = 127 ] && break
    hub_code=$hub_status hub_waited=yes
    [ "$hub_terms_before" = "$hub_terms" ] && break
  done
  hub_pid=
  # As when the first process of a container ends.
  [ "$hub_kill_rest" = all ] && kill -s KILL -- -1
  count_kills
  if [ -n "$hub_kills" ] && [ -n "$hub_kills_before" ]; then hub_kills=$((hub_kills - hub_kills_before)); else hub_kills=-1; fi
  frame "end $hub_code $hub_kills $hub_terms"
  # Then the engine knows more than is known here, and says it once the container has ended.
  [ "$hub_code" -lt 128 ] && [ "$hub_kills" = 0 ] && [ "$hub_terms" = 0 ] || exit "$hub_code"
  trap - TERM
done
exit "$hub_code"
"""


def shell_command() -> list[str]:
    """The command line of the shell's agent."""
    return ["sh", "-c", SHELL_AGENT, "sh", _IN_A_CONTAINER]


def python_command(preload: Sequence[str]) -> list[str]:
    """The command line of Python's agent with these modules."""
    return ["python", "-c", python_agent(), ascii(list(preload)), _IN_A_CONTAINER]


@functools.cache
def python_agent() -> str:
    """The text of Python's agent."""
    return Path(__file__).with_name("warm_python.py").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Ready:
    """What an agent says of itself when it is ready."""

    #: What its container uses of memory.
    memory_bytes: int
    #: Whether it can start programs just as they are started anywhere else.
    fits: bool
    #: Module → why it could not be imported.
    failed: Mapping[str, str] = field(default_factory=dict)


def parse_ready(line: bytes) -> Ready | None:
    """What the first line of an agent says; ``None`` where it is not one's."""
    if not line.startswith(READY):
        return None
    try:
        said = json.loads(line[len(READY) :])
        failed = {str(name): str(why) for name, why in said.get("failed", {}).items()}
        return Ready(memory_bytes=int(said["memory_bytes"]), fits=bool(said["fits"]), failed=failed)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
