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
    #: The image exists somewhere, perhaps, but fetching it did not succeed in time.
    IMAGE_PULL_FAILED = "image_pull_failed"
    #: The image of a Compose program could not be built.
    IMAGE_BUILD_FAILED = "image_build_failed"
    MAIN_FILE_NOT_FOUND = "main_file_not_found"
    INVALID_PATH = "invalid_path"
    INVALID_PARAMETERS = "invalid_parameters"
    #: What ``requirements.txt`` asks for could not be installed.
    MISSING_DEPENDENCIES = "missing_dependencies"
    COMPOSE_FILE_NOT_FOUND = "compose_file_not_found"
    #: The Compose file can't be used, or asks for something that a restricted program may not have.
    COMPOSE_REFUSED = "compose_refused"
    #: ``act_before`` failed, so the program was not run.
    ACTION_FAILED = "action_failed"
    #: As many executions run as may, and the program's ``on_limit`` is ``reject``.
    CONCURRENCY_LIMIT = "concurrency_limit"
    EXIT_CODE = "exit_code"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    #: Somebody asked for its end; the message says who and why.
    CANCELLED = "cancelled"
    #: The program could not be started: its interpreter is missing from the image, or Docker refused it.
    START_FAILED = "start_failed"
    DOCKER_UNAVAILABLE = "docker_unavailable"
    #: Docker was restarted under the program, which was stopped by that and did not fail by itself.
    DOCKER_RESTARTED = "docker_restarted"
    #: Docker, or the system, refuses this runner what it needs.
    PERMISSION_DENIED = "permission_denied"
    #: A network that the hub itself needs could not be used.
    NETWORK = "network"
    #: This runner found no Compose to run the program with.
    COMPOSE_UNAVAILABLE = "compose_unavailable"
    #: The runner was restarted while the program ran, and the program could not be taken up.
    RUNNER_RESTARTED = "runner_restarted"
    #: The runner fell silent while it had the execution, and is taken to be gone for good.
    RUNNER_LOST = "runner_lost"
    #: No runner took it within a day.
    EXPIRED = "expired"
    #: Its command is gone from the queue, so that no runner can take it any more.
    COMMAND_LOST = "command_lost"
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
    Reason.IMAGE_PULL_FAILED: Category.IMAGE,
    Reason.IMAGE_BUILD_FAILED: Category.IMAGE,
    Reason.MAIN_FILE_NOT_FOUND: Category.FILE,
    Reason.INVALID_PATH: Category.FILE,
    Reason.INVALID_PARAMETERS: Category.FILE,
    Reason.MISSING_DEPENDENCIES: Category.FILE,
    Reason.COMPOSE_FILE_NOT_FOUND: Category.FILE,
    Reason.COMPOSE_REFUSED: Category.FILE,
    Reason.ACTION_FAILED: Category.EXECUTION,
    Reason.CONCURRENCY_LIMIT: Category.EXECUTION,
    Reason.EXIT_CODE: Category.EXECUTION,
    Reason.TIMEOUT: Category.EXECUTION,
    Reason.OUT_OF_MEMORY: Category.EXECUTION,
    Reason.CANCELLED: Category.EXECUTION,
    Reason.START_FAILED: Category.EXECUTION,
    Reason.DOCKER_UNAVAILABLE: Category.SYSTEM,
    Reason.DOCKER_RESTARTED: Category.SYSTEM,
    Reason.PERMISSION_DENIED: Category.SYSTEM,
    Reason.NETWORK: Category.SYSTEM,
    Reason.COMPOSE_UNAVAILABLE: Category.SYSTEM,
    Reason.RUNNER_RESTARTED: Category.SYSTEM,
    Reason.RUNNER_LOST: Category.SYSTEM,
    Reason.EXPIRED: Category.SYSTEM,
    Reason.COMMAND_LOST: Category.SYSTEM,
    Reason.UNSUPPORTED: Category.SYSTEM,
    Reason.INTERNAL: Category.SYSTEM,
}
