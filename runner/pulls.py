"""What Docker tells of a pull: how far it has come, and why it failed. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from runner.errors import CannotRun
from runner.image_names import names_registry
from schemas.reasons import Reason

#: Longest cause that is repeated to people, in characters.
_LONGEST_CAUSE = 500

# Docker has no other word for these than the text of its error.
_ABSENT = re.compile(r"manifest unknown|manifest for .+ not found|pull access denied|does not exist|name unknown", re.I)
_UNREACHABLE = re.compile(
    r"\bdial |no such host|timeout|connection re(?:fused|set)|unreachable|TLS|x509|\bEOF\b|proxyconnect|server misbehaving"
    r"|request canceled|HTTP response to HTTPS client|bad gateway|service unavailable",
    re.I,
)


class PullProgress:
    """Sums up what the stream of a pull says of each layer."""

    def __init__(self) -> None:
        #: Layer → how much of it was downloaded and how much unpacked, from 0 to 1.
        self._layers: dict[str, tuple[float, float]] = {}

    def feed(self, message: Mapping[str, Any]) -> int | None:
        """Take in one message; the percentage of all layers, ``None`` where no layer is known yet."""
        layer = message.get("id")
        if isinstance(layer, str):
            downloaded, unpacked = self._layers.get(layer, (0.0, 0.0))
            match message.get("status"):
                case "Pulling fs layer" | "Waiting":
                    self._layers[layer] = (downloaded, unpacked)
                case "Downloading":
                    self._layers[layer] = (max(downloaded, _share(message)), unpacked)
                case "Verifying Checksum" | "Download complete":
                    self._layers[layer] = (1.0, unpacked)
                case "Extracting":
                    self._layers[layer] = (1.0, max(unpacked, _share(message)))
                case "Pull complete":
                    self._layers[layer] = (1.0, 1.0)
        if not self._layers:
            return None
        done = sum(downloaded + unpacked for downloaded, unpacked in self._layers.values())
        return int(100 * done / (2 * len(self._layers)))


def _share(message: Mapping[str, Any]) -> float:
    detail = message.get("progressDetail") or {}
    current, total = detail.get("current"), detail.get("total")
    if not isinstance(current, int) or not isinstance(total, int) or total <= 0:
        return 0.0
    return max(0.0, min(1.0, current / total))


def image_not_found(image: str) -> CannotRun:
    """What people are told about an image that is not there, and whose pull left nothing to say."""
    return _cannot_have(image, Reason.IMAGE_NOT_FOUND, "")


def pull_timed_out(image: str, limit_seconds: float) -> CannotRun:
    """What people are told about an image that did not come in time."""
    return _cannot_have(image, Reason.IMAGE_PULL_FAILED, f"Pulling it took longer than {limit_seconds:g} s.")


def pull_stalled(image: str, limit_seconds: float) -> CannotRun:
    """What people are told about an image of which nothing came any more."""
    return _cannot_have(image, Reason.IMAGE_PULL_FAILED, f"Nothing of it came for {limit_seconds:g} s.")


def pull_failed(image: str, cause: str) -> CannotRun:
    """What people are told about an image that could not be pulled for the cause that Docker gives."""
    cause = " ".join(cause.split())[:_LONGEST_CAUSE]
    return _cannot_have(image, _reason(image, cause), f"Docker says: {cause}" if cause else "")


def _reason(image: str, cause: str) -> Reason:
    if _ABSENT.search(cause):
        return Reason.IMAGE_NOT_FOUND
    if _UNREACHABLE.search(cause):
        # A bare name may as well be meant to be here already: then it is the image that is missing, not the network.
        return Reason.NETWORK if names_registry(image) else Reason.IMAGE_NOT_FOUND
    return Reason.IMAGE_PULL_FAILED


def _cannot_have(image: str, reason: Reason, cause: str) -> CannotRun:
    message = (
        f"Docker image '{image}' not found and could not be pulled. "
        "Please ensure the image exists locally or is available in a registry."
    )
    return CannotRun(reason, f"{message} {cause}".rstrip())
