"""The CA certificates that programs shall trust: those that this machine's own pip is told to trust."""

import configparser
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import structlog

from hub.errors import SettingsError
from hub.settings import HubSettings

_log = structlog.get_logger()

#: Files of pip that are where they are, whoever runs it.
_SYSTEM_FILES = (Path(sys.prefix) / "pip.conf", Path("/etc/pip.conf"))

#: Said instead of a path where programs shall trust what their image trusts.
NONE = Path("none")


def find_ca_bundle(
    hub: HubSettings, environment: Mapping[str, str] = os.environ, system_files: Sequence[Path] = _SYSTEM_FILES
) -> Path | None:
    """The file to put into containers, absolute; ``None`` where there is none.

    Where the engine's host sees the project elsewhere, it is another machine's file system: then nothing is guessed.

    Raises:
        SettingsError: HUB_CA_BUNDLE names no file.
    """
    if hub.ca_bundle == NONE:
        return None
    if hub.ca_bundle is not None:
        if not hub.ca_bundle.is_file():
            raise SettingsError(
                f"HUB_CA_BUNDLE names no file: {hub.ca_bundle}; say  none  for no certificates but the images' own"
            )
        return hub.ca_bundle.absolute()
    if hub.host_project_dir not in (None, hub.project_path):
        return None
    found = next((path for path in _of_this_machine(environment, system_files) if path.is_file()), None)
    if found is not None:
        _log.info("programs trust what pip trusts here", action="ca_bundle_found", path=str(found))
    return found and found.absolute()


def _of_this_machine(environment: Mapping[str, str], system_files: Sequence[Path]) -> Iterator[Path]:
    """Where pip looks, in its order, and then what Python itself is told."""
    values = (environment.get("PIP_CERT"), *_configured(environment, system_files))
    for value in (*values, environment.get("REQUESTS_CA_BUNDLE"), environment.get("SSL_CERT_FILE")):
        if value:
            yield Path(value)


def _configured(environment: Mapping[str, str], system_files: Sequence[Path]) -> Iterator[str]:
    """``global.cert`` of pip's files, the strongest first."""
    home = Path(environment.get("HOME", "/nonexistent"))
    config_home = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    site = [Path(folder) / "pip" for folder in reversed((environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"))]
    files = [
        Path(environment.get("PIP_CONFIG_FILE") or os.devnull),
        config_home / "pip" / "pip.conf",
        home / ".pip" / "pip.conf",
        *system_files,
        *(folder / "pip.conf" for folder in site),
    ]
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue  # pip says what is wrong with its file
        if value := parser.get("global", "cert", fallback=""):
            yield value
