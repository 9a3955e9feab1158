"""The steps of one attempt in its container, one after the other."""

from enum import StrEnum


class Step(StrEnum):
    """What a container is started for. The actions are the user's, from the folder ``actions/`` of the project."""

    BEFORE = "act_before"
    PROGRAM = "program"
    AFTER = "act_after"


#: Action → its file in the folder ``actions/``.
ACTION_FILES = {Step.BEFORE: "act_before.py", Step.AFTER: "act_after.py"}
