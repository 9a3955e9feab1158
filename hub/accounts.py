"""Who may log in: one user, whose password is kept as a hash, and the key that signs tokens."""

import asyncio
import hmac
import secrets
import string
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from hub.errors import SettingsError
from hub.secrets_file import Secrets, SecretsFile

log = structlog.get_logger()

FILE_NAME: Final = "credentials.json"
#: A key shorter than the hash it feeds is the weakest part of the signature.
MIN_KEY_BYTES: Final = 32

_USERNAME_LENGTH = 10
#: 24 letters and digits carry 142 bits.
_PASSWORD_LENGTH = 24
#: Password checks at the same time: each takes 19 MiB and a processor, and logins must not starve everything else.
_CHECKS_AT_ONCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A user and a password that were just made. Shown to people once, and kept nowhere."""

    username: str
    password: str = field(repr=False)


class Accounts:
    """The one user of this installation. Credentials survive restarts; whoever presets them decides."""

    def __init__(self, secrets_in_use: Secrets, *, signing_key: bytes, hasher: PasswordHasher) -> None:
        """To be made by :func:`open_accounts`."""
        self._username = secrets_in_use.username
        self._password_hash = secrets_in_use.password_hash
        self._signing_key = signing_key
        self._hasher = hasher
        self._checks = ThreadPoolExecutor(max_workers=_CHECKS_AT_ONCE, thread_name_prefix="password")

    @property
    def username(self) -> str:
        """The user's name."""
        return self._username

    @property
    def signing_key(self) -> bytes:
        """The key that signs tokens; at least 32 bytes."""
        return self._signing_key

    async def verify(self, username: str, password: str) -> bool:
        """Whether this user has this password. Takes the same time for an unknown user."""
        return await asyncio.get_running_loop().run_in_executor(self._checks, self._verify, username, password)

    def close(self) -> None:
        """Drop the checks that have not begun."""
        self._checks.shutdown(wait=False, cancel_futures=True)

    def _verify(self, username: str, password: str) -> bool:
        # The hash is computed for unknown users as well, so that the time taken tells nobody which names exist.
        password_fits = _fits(self._hasher, self._password_hash, password)
        username_fits = hmac.compare_digest(_bytes(username), _bytes(self._username))
        return password_fits and username_fits


def open_accounts(
    state_dir: Path,
    *,
    username: str | None = None,
    password: str | None = None,
    secret_key: str | None = None,
    hasher: PasswordHasher | None = None,
) -> tuple[Accounts, Credentials | None]:
    """The accounts of this installation, made at its first start, and the credentials if a password was made just now.

    ``username`` and ``password`` preset the credentials, ``secret_key`` the key that signs tokens.

    Raises:
        SettingsError: a preset can't be used.
        BadSecretsFile: the file of earlier credentials can't be read or written.
    """
    _check_presets(username, password, secret_key)
    hasher = hasher or _default_hasher()
    file = SecretsFile(state_dir / FILE_NAME)
    known = file.read()
    if known is None:
        made = Credentials(username=username or _new_username(), password=password or _new_password())
        # Another process may have been quicker: then its credentials count, and ours are forgotten unseen.
        mine = _secrets_of(made, hasher, _new_key())
        known = file.create(mine)
        created = made if known == mine and password is None else None
    else:
        created = None
    in_use = _with_presets(known, username, password, hasher)
    if in_use != known:
        file.replace(in_use)
        log.info("credentials taken from the environment", action="credentials_preset", username=in_use.username)
    return _accounts(in_use, secret_key, hasher), created


def rotate(state_dir: Path, *, hasher: PasswordHasher | None = None) -> Credentials:
    """Make a new user name, password and signing key; services take them up at their next start, and old logins end then.

    Raises:
        BadSecretsFile: the file can't be written.
    """
    made = Credentials(username=_new_username(), password=_new_password())
    SecretsFile(state_dir / FILE_NAME).replace(_secrets_of(made, hasher or _default_hasher(), _new_key()))
    return made


def banner(credentials: Credentials) -> str:
    """What is printed once, for people, when credentials were made."""
    line = "=" * 60
    return "\n".join(
        (
            line,
            "CREDENCIALES DE USO",
            line,
            f"Usuario: {credentials.username}",
            f"Password: {credentials.password}",
            line,
            "Log in with them at POST /auth/login. They are shown this once and kept as a hash.",
            line,
        )
    )


def _check_presets(username: str | None, password: str | None, secret_key: str | None) -> None:
    # Printable also means that it has an UTF-8: a byte of the environment that is not text can't be logged in with.
    if username is not None and not (1 <= len(username) <= 256 and username.isprintable()):
        raise SettingsError("HUB_USERNAME can't be used: it must have 1 to 256 printable characters")
    if password is not None and not 1 <= len(password) <= 1024:
        raise SettingsError("HUB_PASSWORD can't be used: it must have 1 to 1024 characters")
    if secret_key is not None and (size := len(_bytes(secret_key))) < MIN_KEY_BYTES:
        raise SettingsError(
            f"SECRET_KEY can't be used: it has {size} bytes and must have at least {MIN_KEY_BYTES}. "
            "Leave it out, and one is made and kept; or make one with: openssl rand -hex 32"
        )


def _with_presets(known: Secrets, username: str | None, password: str | None, hasher: PasswordHasher) -> Secrets:
    # The same password has another hash every time: replace the one there is only if it does not fit.
    fits = password is None or _fits(hasher, known.password_hash, password)
    return Secrets(
        username=username or known.username,
        password_hash=known.password_hash if fits else hasher.hash(_bytes(password or "")),
        signing_key=known.signing_key,
    )


def _accounts(in_use: Secrets, secret_key: str | None, hasher: PasswordHasher) -> Accounts:
    return Accounts(in_use, signing_key=_bytes(secret_key) if secret_key is not None else in_use.signing_key, hasher=hasher)


def _secrets_of(credentials: Credentials, hasher: PasswordHasher, signing_key: bytes) -> Secrets:
    return Secrets(
        username=credentials.username, password_hash=hasher.hash(_bytes(credentials.password)), signing_key=signing_key
    )


def _fits(hasher: PasswordHasher, password_hash: str, password: str) -> bool:
    try:
        return hasher.verify(password_hash, _bytes(password))
    except (Argon2Error, InvalidHashError):
        return False


def _bytes(text: str) -> bytes:
    # Lone surrogates come from undecodable environment variables, and from JSON that is out for trouble.
    return text.encode("utf-8", "surrogatepass")


def _default_hasher() -> PasswordHasher:
    # Argon2id with OWASP's minimum of memory: two checks at once must fit beside an idle hub.
    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def _new_username() -> str:
    rest = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(_USERNAME_LENGTH - 1))
    return secrets.choice(string.ascii_lowercase) + rest


def _new_password() -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(_PASSWORD_LENGTH))


def _new_key() -> bytes:
    return secrets.token_bytes(MIN_KEY_BYTES)
