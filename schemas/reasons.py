"""Why an execution did not complete: a stable reason, in one of the seed's four categories."""

from enum import StrEnum


class Category(StrEnum):
    """The kind of error that kept a program from completing."""

    #: The image is missing, can't be pulled or has no valid name.
    IMAGE = "image"
    #: A file of the program is missing or lies where it may not.
    FILE = "file"
    #: The program itself: it failed, ran too long or used too much.
    EXECUTION = "execution"
    #: The machinery around the program: Docker, the runner, the catalogue.
    SYSTEM = "system"


class Reason(StrEnum):
    """A stable word for each cause, for programs to switch on; people read the message beside it."""

    UNKNOWN_PROGRAM = "unknown_program"
    DISABLED = "disabled"
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_INVALID = "image_invalid"
    MAIN_FILE_NOT_FOUND = "main_file_not_found"
    INVALID_PATH = "invalid_path"
    INVALID_PARAMETERS = "invalid_parameters"
    EXIT_CODE = "exit_code"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    #: The program could not be started: its interpreter is missing from the image, or Docker refused it.
    START_FAILED = "start_failed"
    DOCKER_UNAVAILABLE = "docker_unavailable"
    #: The runner was stopped by force while the program ran.
    RUNNER_RESTARTED = "runner_restarted"
    #: The kind of run is configured but this runner can't do it.
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"

    @property
    def category(self) -> Category:
        """The category that this reason belongs to."""
        return _CATEGORIES[self]


_CATEGORIES = {
    Reason.UNKNOWN_PROGRAM: Category.EXECUTION,
    Reason.DISABLED: Category.EXECUTION,
    Reason.IMAGE_NOT_FOUND: Category.IMAGE,
    Reason.IMAGE_INVALID: Category.IMAGE,
    Reason.MAIN_FILE_NOT_FOUND: Category.FILE,
    Reason.INVALID_PATH: Category.FILE,
    Reason.INVALID_PARAMETERS: Category.FILE,
    Reason.EXIT_CODE: Category.EXECUTION,
    Reason.TIMEOUT: Category.EXECUTION,
    Reason.OUT_OF_MEMORY: Category.EXECUTION,
    Reason.START_FAILED: Category.EXECUTION,
    Reason.DOCKER_UNAVAILABLE: Category.SYSTEM,
    Reason.RUNNER_RESTARTED: Category.SYSTEM,
    Reason.UNSUPPORTED: Category.SYSTEM,
    Reason.INTERNAL: Category.SYSTEM,
}
