"""How an attempt is run in a warm container: what its agent is told at each step, and what the next life of a runner must know
of that. Pure."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict

from runner.container_config import ImageCommand, program_argv, warm_body
from runner.run_spec import ACTIONS, WORKSPACE, RunSpec
from runner.steps import ACTION_FILES, Step
from runner.warm_agent import python_command, shell_command
from runner.warm_frames import nonces_of
from runner.warm_job import Job, python_line, shell_line

#: Runs an action with whatever Python there is.
_ACTION = 'exec "$(command -v python || command -v python3)" "$0"'


class WarmPlan(BaseModel):
    """One attempt in one warm container. It is kept in the journal, so it knows no more than is needed there."""

    model_config = ConfigDict(frozen=True, ignored_types=(cached_property,))

    #: What the steps' nonces are made of.
    secret: str
    #: Whether the agent is Python's.
    preloaded: bool
    argv: tuple[str, ...]
    #: What is added to the container's own variables.
    env: dict[str, str]

    @cached_property
    def nonces(self) -> Mapping[Step, str]:
        """What the frames of each step carry."""
        return nonces_of(self.secret)

    def line(self, step: Step, exit_code: int = 0) -> bytes | None:
        """What the agent reads; ``None`` where it can't be told that. ``exit_code`` is what ``act_after`` is told."""
        job = Job(self.nonces[step], self.argv, self.env)
        if step is not Step.PROGRAM:
            env = {**self.env, "EXIT_CODE": str(exit_code)} if step is Step.AFTER else self.env
            argv = ("sh", "-c", _ACTION, f"{ACTIONS}/{ACTION_FILES[step]}")
            job = Job(self.nonces[step], argv, env, WORKSPACE)
        return python_line(job) if self.preloaded else shell_line(job)

    def kept(self, *, needs_steps: bool) -> "WarmPlan":
        """The part that is to be remembered: where no further step can follow the first, what runs need not be known."""
        return self if needs_steps else self.model_copy(update={"argv": (), "env": {}})


def plan_warm(spec: RunSpec, image: ImageCommand) -> WarmPlan | None:
    """How this attempt is run in a warm container; ``None`` where that is not possible."""
    plan = WarmPlan(
        secret=secrets.token_hex(16),
        preloaded=is_preloaded(spec),
        argv=tuple(program_argv(spec, image)),
        env={name: value for name, value in spec.env.items() if spec.file_env.get(name) != value},
    )
    return None if any(plan.line(step) is None for step in (Step.PROGRAM, *spec.actions)) else plan


def is_preloaded(spec: RunSpec) -> bool:
    """Whether what waits for an execution of this program is an interpreter with modules."""
    if not spec.preload or spec.argv is None or len(spec.argv) < 2:
        return False
    interpreter, main_file, *_ = spec.argv
    return interpreter == "python" and PurePosixPath(main_file).suffix == ".py"


def body_of(spec: RunSpec, image: ImageCommand) -> dict[str, Any]:
    """The body that makes a warm container for executions of this program."""
    return warm_body(spec, image, python_command(spec.preload) if is_preloaded(spec) else shell_command())


def key_of(spec: RunSpec, body: Mapping[str, Any], image: ImageCommand) -> str:
    """What tells warm containers apart: two of one key are the same in all that a program could notice."""
    said = json.dumps([body, image.image_id, spec.mounted], sort_keys=True)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()
