"""The parts of an image's name, as Docker reads it. Pure."""

from dataclasses import dataclass

_DEFAULT_TAG = "latest"


@dataclass(frozen=True, slots=True)
class ImageName:
    """A name taken apart."""

    #: With the registry, where one is named.
    repository: str
    #: ``latest`` where neither a tag nor a digest is written; a digest (``sha256:…``) stands for the tag.
    tag: str


def parse_image_name(text: str) -> ImageName:
    """The parts of ``[registry[:port]/]name[:tag][@digest]``. Whatever it is given, it gives something to show."""
    name, _, digest = text.partition("@")
    head, slash, last = name.rpartition("/")
    # Only behind the last slash a colon begins a tag: before it, it is a registry's port.
    last, _, tag = last.partition(":")
    return ImageName(repository=f"{head}{slash}{last}", tag=digest or tag or _DEFAULT_TAG)
