"""Where each setting of this process comes from."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dotenv import dotenv_values
from pydantic import AliasChoices, SecretStr

from hub.config import hub_variable, seed_variable
from hub.config_document import Table, read_document
from hub.config_file import ConfigFile
from hub.settings import HubSettings, Settings
from runner.endings import size
from schemas.retries import Retry

_ENV_FILE = ".env"
#: Settings in bytes, and in billionths of a processor.
_SIZES = frozenset({"memory_limit", "output_limit"})
_PROCESSORS = frozenset({"cpu_limit"})


@dataclass(frozen=True, slots=True)
class Origin:
    """One setting."""

    name: str
    #: As text; a secret shows as stars.
    value: str
    #: ``default``, ``flag``, a variable, or a line of config.yaml.
    source: str


def program_settings(file: ConfigFile, settings: Settings) -> Iterator[Origin]:
    """The settings that programs run by, in the order of config.yaml's documentation.

    Raises:
        ConfigError: config.yaml can't be used.
    """
    catalogue = file.load()
    lines = _lines(file)
    for name, value in catalogue.settings.model_dump(mode="json").items():
        if name in settings.overrides:
            source = _variable(hub_variable(name))
        elif name in lines:
            source = f"{file.path.name}:{lines[name]}"
        elif name in settings.fallbacks:
            source = _variable(seed_variable(name))
        else:
            source = "default"
        yield Origin(name, _as_written(name, value), source)


def hub_settings(hub: HubSettings, flags: Mapping[str, Any]) -> Iterator[Origin]:
    """The settings of the hub itself. ``flags`` are those that were given on the command line."""
    for name, field in HubSettings.model_fields.items():
        value = getattr(hub, name)
        # The address of a bus holds a password; what is a secret shows itself as stars.
        shown = "" if value is None else str(value)
        if isinstance(value, SecretStr) and name == "bus_url" and value.get_secret_value() == "embedded":
            shown = "embedded"
        names = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else []
        variable = _set_variable([str(alias) for alias in names])
        source = "flag" if flags.get(name) is not None else _variable(variable) if variable else "default"
        if name == "bus_url" and hub.bus_url_file is not None:
            source = f"file {hub.bus_url_file}"
        yield Origin(name, shown, source)


def _as_written(name: str, value: Any) -> str:
    """A value in the form in which config.yaml takes it."""
    if name in _SIZES:
        return size(value)
    if name in _PROCESSORS:
        return f"{value / 1_000_000_000:g}"
    if name == "retry":
        return Retry.model_validate(value).as_written
    return f"{value:g}" if isinstance(value, float) else str(value)


def _lines(file: ConfigFile) -> dict[str, int]:
    """The line of each key under ``settings`` that is set to something."""
    document, _ = read_document(file.text(), source=file.path.name)
    section = document.entries.get("settings") if isinstance(document, Table) else None
    if section is None or not isinstance(section.node, Table):
        return {}
    return {
        name: entry.place.line
        for name, entry in section.node.entries.items()
        if isinstance(entry.node, Table) or entry.node.value is not None
    }


def _set_variable(names: Sequence[str]) -> str | None:
    """Which of these variables decides. The environment wins over the file, whatever the variables are called."""
    file = dotenv_values(_ENV_FILE)
    # Set but empty counts as not set, as for the settings themselves.
    return next((name for source in (os.environ, file) for name in names if source.get(name)), None)


def _variable(name: str) -> str:
    return f"variable {name}" if os.environ.get(name) else f"{_ENV_FILE}: {name}"
