"""The file config.yaml, and everything that is read together with it."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hub.config import parse_config
from hub.config_document import MAX_BYTES
from hub.config_problems import ConfigProblem
from hub.errors import ConfigError
from schemas.catalogue import Catalogue

#: What tells two versions of a file apart without reading it: time of change (ns), size, inode. ``None``: no file is there.
Stamp = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """Where config.yaml lies, and what stands above and below it."""

    path: Path
    #: The folder that relative program paths start from.
    project_dir: Path
    #: Settings that win over the file, as text.
    overrides: Mapping[str, str] = field(default_factory=dict)
    #: Settings that the file wins over, as text.
    fallbacks: Mapping[str, str] = field(default_factory=dict)

    def load(self) -> Catalogue:
        """Read and parse it.

        Raises:
            ConfigError: it can't be read, or is wrong; with every mistake in it.
        """
        return self.parse(self.read())

    def read(self) -> bytes:
        """Its content, never more than one byte beyond the limit.

        Raises:
            ConfigError: it is not there, or can't be read.
        """
        try:
            # Not to wait for whoever might write into a pipe of that name.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ConfigError([ConfigProblem(message="is no regular file", source=str(self.path))])
                return file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigError([ConfigProblem(message=f"can't be read: {error.strerror}", source=str(self.path))]) from error

    def parse(self, content: bytes) -> Catalogue:
        """The catalogue that this content describes.

        Raises:
            ConfigError: with every mistake in it.
        """
        return parse_config(
            self._decode(content),
            project_dir=self.project_dir,
            overrides=self.overrides,
            fallbacks=self.fallbacks,
            source=self.path.name,
        )

    def text(self) -> str:
        """Its content as text.

        Raises:
            ConfigError: it is not there, can't be read, or is no text.
        """
        return self._decode(self.read())

    def stamp(self) -> Stamp:
        """Which version of it lies there now."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _decode(self, content: bytes) -> str:
        if len(content) > MAX_BYTES:
            # Before decoding: the limit may have cut a character in two.
            raise ConfigError([ConfigProblem(message=f"it is longer than {MAX_BYTES} bytes", source=self.path.name)])
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = content[: error.start]
            problem = ConfigProblem(
                message="it is not UTF-8 text",
                source=self.path.name,
                line=before.count(b"\n") + 1,
                column=error.start - before.rfind(b"\n"),
            )
            raise ConfigError([problem]) from error
