"""What Docker means when it refuses something: it has no other word for most of it than a status and a text. Pure."""

from aiodocker.exceptions import DockerError

from runner.errors import CannotRun, ContainerGone, EngineUnavailable
from runner.pulls import image_not_found
from runner.run_spec import RunSpec
from schemas.reasons import Reason

_NOT_FOUND = 404
_NO_SOURCE = "bind source path does not exist: "


def lookup_failed(error: DockerError, name: str) -> ContainerGone | EngineUnavailable:
    """Docker did not tell about a container."""
    if error.status == _NOT_FOUND:
        return ContainerGone(f"container {name} is gone")
    return EngineUnavailable(f"Docker can't tell about {name}: {error.message}")


def create_refused(error: DockerError, spec: RunSpec, image: str) -> CannotRun | EngineUnavailable:
    """Docker did not make a container of this image for this run."""
    if error.status == _NOT_FOUND:  # it was there a moment ago
        return image_not_found(spec.image) if image == spec.image else EngineUnavailable(f"image {image} was removed meanwhile")
    _, _, source = error.message.partition(_NO_SOURCE)
    if source and source.strip() == spec.host_ca_bundle:
        return CannotRun(
            Reason.INVALID_PATH,
            f"The CA certificates are not on Docker's host at {spec.host_ca_bundle}. Please check HUB_CA_BUNDLE.",
        )
    if source:
        return CannotRun(
            Reason.INVALID_PATH,
            f"The program's folder is not on Docker's host at {spec.host_folder}. "
            "Please check HOST_PROJECT_DIR, which must name the project's folder as that host sees it.",
        )
    return CannotRun(Reason.START_FAILED, f"The container could not be created: {error.message}")
