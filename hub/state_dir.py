"""The folder of everything the hub must remember."""

from pathlib import Path

from hub.errors import SettingsError


def make_state_dir(path: Path) -> Path:
    """The folder, made if need be, for its owner's eyes only: it holds credentials and what programs wrote.

    Raises:
        SettingsError: it can't be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise SettingsError(f"the state directory {path} can't be used ({error.strerror}): set HUB_STATE_DIR") from error
    return path
