"""The file with what must stay secret: the hash of a password, and the key that signs tokens."""

import base64
import binascii
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from hub.errors import BadSecretsFile

#: Read and written by its owner alone.
_MODE = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """The content of the file."""

    username: str
    password_hash: str = field(repr=False)
    signing_key: bytes = field(repr=False)


def _is_key(text: str) -> str:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if len(key) < 32:
        raise ValueError("too short")
    return text


class _Stored(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    username: str = Field(min_length=1, max_length=256)
    password_hash: str = Field(pattern=r"^\$argon2id\$")
    #: Base64.
    signing_key: Annotated[str, AfterValidator(_is_key)]


class SecretsFile:
    """Reads and writes the file: whole or not at all, and for nobody else to read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Secrets | None:
        """The secrets; ``None`` where there is no file yet.

        Raises:
            BadSecretsFile: the file can't be read, is open to others, or is damaged.
        """
        try:
            # A link would let whoever may write the folder have us read another file.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadSecretsFile(self._path, f"it can't be read: {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as file:
            if os.fstat(descriptor).st_mode & 0o077:
                raise BadSecretsFile(self._path, "others may read it: make new credentials, or chmod 600 it")
            content = file.read()
        try:
            stored = _Stored.model_validate_json(content)
        except ValidationError as error:
            raise BadSecretsFile(self._path, "it is damaged: put a copy back, or remove it to get new credentials") from error
        return Secrets(
            username=stored.username,
            password_hash=stored.password_hash,
            signing_key=base64.b64decode(stored.signing_key),
        )

    def create(self, secrets: Secrets) -> Secrets:
        """Write the file if there is none; the secrets that are in it now, which may be another process's.

        Raises:
            BadSecretsFile: it can't be written.
        """
        temporary = self._write_beside(secrets)
        try:
            # Unlike a rename, a link never replaces what somebody else has put there meanwhile.
            os.link(temporary, self._path)
        except FileExistsError:
            return self.read() or secrets
        except OSError as error:
            raise BadSecretsFile(self._path, f"it can't be written: {error.strerror}") from error
        finally:
            temporary.unlink()
        self._sync_folder()
        return secrets

    def replace(self, secrets: Secrets) -> None:
        """Write the file, whatever was there before.

        Raises:
            BadSecretsFile: it can't be written.
        """
        temporary = self._write_beside(secrets)
        try:
            temporary.replace(self._path)
        except OSError as error:
            temporary.unlink()
            raise BadSecretsFile(self._path, f"it can't be written: {error.strerror}") from error
        self._sync_folder()

    def _write_beside(self, secrets: Secrets) -> Path:
        stored = _Stored(
            username=secrets.username,
            password_hash=secrets.password_hash,
            signing_key=base64.b64encode(secrets.signing_key).decode("ascii"),
        )
        temporary = self._path.with_name(f".{self._path.name}.{uuid4().hex}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
            with os.fdopen(descriptor, "wb") as file:
                file.write(stored.model_dump_json(indent=2).encode() + b"\n")
                file.flush()
                os.fsync(descriptor)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise BadSecretsFile(self._path, f"it can't be written: {error.strerror}") from error
        return temporary

    def _sync_folder(self) -> None:
        # The name is durable only once its folder is.
        descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
