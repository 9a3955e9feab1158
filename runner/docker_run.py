"""What this process knows of a container on Docker that it has prepared or taken up."""

from dataclasses import dataclass

from runner.docker_output import DockerOutput
from runner.run_spec import RunSpec
from runner.warm_run import WarmRun


@dataclass
class DockerRun:
    """One attempt."""

    output: DockerOutput
    #: Whether the connection broke, so that the attached stream may lack its end.
    connection_lost: bool = False
    stopped: bool = False
    #: Whether Docker was asked for a start that it may still carry out.
    start_asked: bool = False
    #: Whether what an earlier process has started is still to be read, and that from Docker's log: all of it in one piece.
    adopted: bool = False
    #: Whether it has several steps, and is told at each start which one is meant.
    takes_orders: bool = False
    #: Where it runs in a container that was kept warm; and what it would be made by otherwise.
    warm: WarmRun | None = None
    spec: RunSpec | None = None
