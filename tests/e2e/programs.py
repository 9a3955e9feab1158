"""The programs that the end-to-end tests run."""

from tests.support.hub_process import HubProcess

HELLO = """
import os, sys
print("hello from", os.environ["PROGRAM_ID"], os.environ["EXECUTION_ID"])
print("name is", os.environ.get("PARAM_NAME"), "and argv is", sys.argv[1:])
print("a word on the side", file=sys.stderr)
"""
FAILS = """
import sys
print("before the failure")
sys.exit(int(__import__("os").environ.get("PARAM_CODE", "3")))
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("partial output", flush=True)
time.sleep(600)
"""
SLEEPS = """
import os, time
time.sleep(float(os.environ.get("PARAM_SECONDS", "1")))
"""
BYTES = """
import sys
sys.stdout.buffer.write(bytes(range(256)) * 3)
sys.stderr.buffer.write(b"\\xff\\xfe\\x00")
"""
#: Writes what would steer a terminal, as a word of its own and as the last words of a failure.
STEERS = r"""
import sys
print("\x1b[2J\x1b]0;title\x07\0 steered", flush=True)
sys.exit("\x1b[31mfailed")
"""
BIG = """
import os, sys
size = int(os.environ["PARAM_SIZE"])
block = bytes(range(32, 127)) * 100
whole = (block * (size // len(block) + 1))[:size]
sys.stdout.buffer.write(whole)
"""
BACKSLASH = r"""
print(r"C:\new\table")
"""
#: Leaves a line in the program's own folder for each start, which only a real start can.
COUNTS = """
import os, time
with open("/workspace/starts", "a") as starts:
    starts.write(os.environ["EXECUTION_ID"] + "\\n")
time.sleep(float(os.environ.get("PARAM_SECONDS", "0")))
"""

#: Fails until it has been tried often enough.
TRIES = """
import os, sys
attempt = int(os.environ["EXECUTION_ATTEMPT"])
print("attempt", attempt, "of", os.environ["EXECUTION_ID"])
print("a word on the side", file=sys.stderr)
with open("/workspace/starts", "a") as starts:
    starts.write(f'{os.environ["EXECUTION_ID"]} {attempt}\\n')
sys.exit(0 if attempt >= int(os.environ.get("PARAM_ENOUGH", "3")) else 10 + attempt)
"""


def write_programs(hub: HubProcess) -> None:
    """Put them into a hub's folder and config.yaml."""
    hub.write_program("hello", HELLO, parameters="--process proceso_2 'two words'")
    hub.write_program("fails", FAILS)
    hub.write_program("stubborn", STUBBORN, timeout_seconds=2, stop_grace_seconds=1)
    hub.write_program("sleeps", SLEEPS)
    hub.write_program("dies_hard", STUBBORN, timeout_seconds=600, stop_grace_seconds=1)
    hub.write_program("lasts", STUBBORN, timeout_seconds=600, stop_grace_seconds=30)
    hub.write_program("bytes", BYTES)
    hub.write_program("big", BIG)
    hub.write_program("steers", STEERS)
    hub.write_program("backslash", BACKSLASH)
    hub.write_program("counts", COUNTS)
    hub.write_program("tries", TRIES, retry={"max": 3, "backoff": "500ms", "max_backoff": "1s"})
    hub.write_program("tries_later", TRIES, retry={"max": 1, "backoff": "1h", "max_backoff": "1h"})
    hub.write_program("off", HELLO, enabled=False)
    hub.edit(lambda config: config.update(settings={"max_concurrent_executions": 2, "memory_limit": "64m", "cpu_limit": "0.5"}))
