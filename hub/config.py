"""config.yaml → catalogue. Every mistake is reported at once, with program, field, line and column."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hub.config_document import Node, Place, Scalar, Table, read_document
from hub.config_messages import message_of, unknown
from hub.config_problems import ConfigProblem
from hub.errors import ConfigError
from schemas.catalogue import Catalogue
from schemas.programs import Program, ProgramKind
from schemas.settings import ProgramSettings

_M = TypeVar("_M", bound=BaseModel)

_SECTIONS = {"scripts": ProgramKind.SCRIPT, "bots": ProgramKind.BOT}
_PROGRAM_FIELDS = tuple(name for name in Program.model_fields if name not in ("key", "kind"))
_SETTINGS_FIELDS = tuple(ProgramSettings.model_fields)
#: The seed's variable for a field, where it is not the field's own name in capitals.
_SEED_VARIABLES = {"timeout_seconds": "EXECUTION_TIMEOUT"}


def parse_config(
    text: str,
    *,
    project_dir: Path,
    overrides: Mapping[str, str] | None = None,
    fallbacks: Mapping[str, str] | None = None,
    source: str = "config.yaml",
) -> Catalogue:
    """The catalogue that a config.yaml describes.

    ``overrides`` (from ``HUB_*`` variables) win over its settings, and its settings win over ``fallbacks`` (from the seed's
    variables); both map names of settings to text. ``source`` is what messages call the file.

    Raises:
        ConfigError: with every mistake in it.
    """
    document, problems = read_document(text, source=source)
    reader = _Reader(source, problems)
    catalogue = reader.catalogue(document, project_dir, overrides or {}, fallbacks or {})
    if catalogue is None:
        raise ConfigError(sorted(reader.problems, key=lambda problem: (problem.line or 0, problem.column or 0)))
    return catalogue


class _Reader:
    def __init__(self, source: str, problems: list[ConfigProblem]) -> None:
        self.problems = problems
        self._source = source
        #: Every key and id so far → the program's key, and where it stands.
        self._names: dict[str, tuple[str, Place]] = {}

    def catalogue(
        self, document: Node, project_dir: Path, overrides: Mapping[str, str], fallbacks: Mapping[str, str]
    ) -> Catalogue | None:
        if not isinstance(document, Table):
            self._note("must hold the sections scripts, bots and settings", document.place)
            return None
        for name, entry in document.entries.items():
            if name not in (*_SECTIONS, "settings"):
                self._note(unknown(name, (*_SECTIONS, "settings")), entry.place, field=name)
        programs = [
            program
            for section, kind in _SECTIONS.items()
            for key, table, place in self._programs(document, section)
            if (program := self._program(key, kind, table, place)) is not None
        ]
        settings = self._settings(self._section(document, "settings"), overrides, fallbacks)
        if self.problems or settings is None:
            return None
        return Catalogue(programs=tuple(programs), settings=settings, project_dir=project_dir)

    def _section(self, document: Table, name: str) -> Table:
        """A section's table; an empty one where it is not there or nothing stands in it."""
        entry = document.entries.get(name)
        if entry is None:
            return Table(document.place)
        return self._table(entry.node, "must hold entries, each on a line of its own and indented", field=name)

    def _table(self, node: Node, otherwise: str, *, program: str | None = None, field: str | None = None) -> Table:
        if isinstance(node, Table):
            return node
        if node.value is not None:
            self._note(otherwise, node.place, program=program, field=field)
        return Table(node.place)

    def _programs(self, document: Table, section: str) -> list[tuple[str, Table | None, Place]]:
        found: list[tuple[str, Table | None, Place]] = []
        for key, entry in self._section(document, section).entries.items():
            noted = len(self.problems)
            table = self._table(entry.node, "must hold fields, each on a line of its own and indented", program=key)
            found.append((key, table if len(self.problems) == noted else None, entry.place))
        return found

    def _program(self, key: str, kind: ProgramKind, table: Table | None, place: Place) -> Program | None:
        # Also of a program that can't be read: what else it clashes with is to be told at once.
        self._claim(key, key, place)
        if table is None:
            return None
        values = _values(table)
        # YAML would make 8 of ``id: 010``: an id is what was typed.
        written = table.entries.get("id")
        if written is not None and isinstance(written.node, Scalar) and type(written.node.value) is int:
            values["id"] = written.node.text
        program_id = values.get("id", key)
        if isinstance(program_id, str) and program_id != key:
            self._claim(program_id, key, written.node.place if written else place)
        self._refuse_unknown(table, _PROGRAM_FIELDS, program=key)
        values = {name: value for name, value in values.items() if name in _PROGRAM_FIELDS}
        return self._build(Program, {"id": key, "name": key, **values, "key": key, "kind": kind}, table, place, program=key)

    def _claim(self, name: str, key: str, place: Place) -> None:
        other, first = self._names.setdefault(name, (key, place))
        if first != place:
            self._note(f"the name {name!r} belongs to program {other!r} already, line {first.line}", place, program=key)

    def _settings(self, table: Table, overrides: Mapping[str, str], fallbacks: Mapping[str, str]) -> ProgramSettings | None:
        self._refuse_unknown(table, _SETTINGS_FIELDS)
        written = {name: value for name, value in _values(table).items() if name in _SETTINGS_FIELDS}
        # Each layer is judged by itself, so that a mistake is found even where another layer wins.
        self._build(ProgramSettings, written, table, table.place)
        for layer, variable in ((overrides, hub_variable), (fallbacks, seed_variable)):
            for name, value in layer.items():
                self._judge_variable(variable(name), name, value)
        if self.problems:
            return None
        return ProgramSettings.model_validate({**fallbacks, **written, **overrides})

    def _judge_variable(self, variable: str, name: str, value: str) -> None:
        try:
            ProgramSettings.model_validate({name: value})
        except ValidationError as error:
            for detail in error.errors():
                self.problems.append(ConfigProblem(message=message_of(detail), source=f"variable {variable}"))

    def _refuse_unknown(self, table: Table, known: tuple[str, ...], *, program: str | None = None) -> None:
        for name, entry in table.entries.items():
            if name not in known:
                self._note(unknown(name, known), entry.place, program=program, field=name)

    def _build(
        self, model: type[_M], values: dict[str, Any], table: Table, place: Place, *, program: str | None = None
    ) -> _M | None:
        try:
            return model.model_validate(values)
        except ValidationError as error:
            for detail in error.errors():
                name = str(detail["loc"][0])
                entry = table.entries.get(name)
                # An id that was not written is the key, and its mistake is reported as the key's.
                if name == "id" and entry is None:
                    continue
                field = None if name == "key" else _dotted(detail["loc"])
                at = _place_of(detail["loc"][1:], entry.node) if entry else place
                self._note(message_of(detail), at, program=program, field=field)
            return None

    def _note(self, message: str, place: Place, *, program: str | None = None, field: str | None = None) -> None:
        self.problems.append(
            ConfigProblem(
                message=message, source=self._source, line=place.line, column=place.column, program=program, field=field
            )
        )


def _dotted(path: tuple[str | int, ...]) -> str:
    """The field that a mistake lies in: ``retry.max``; what stands in a list has no name of its own."""
    return ".".join(part for part in path if isinstance(part, str))


def _place_of(path: tuple[str | int, ...], node: Node) -> Place:
    """Where a mistake lies, as far as the path leads to something that was written."""
    for part in path:
        if isinstance(node, Table) and part in node.entries:
            node = node.entries[str(part)].node
        elif isinstance(node, Scalar) and isinstance(node.value, list) and isinstance(part, int):
            node = node.value[part]
        else:
            break
    return node.place


def _values(table: Table) -> dict[str, Any]:
    """The values of a table; a field with nothing behind it counts as not written."""
    plain = {name: _plain(entry.node) for name, entry in table.entries.items()}
    return {name: value for name, value in plain.items() if value is not None}


def _plain(node: Node) -> Any:
    if isinstance(node, Table):
        return {name: _plain(entry.node) for name, entry in node.entries.items()}
    if isinstance(node.value, list):
        return [_plain(item) for item in node.value]
    return node.value


def hub_variable(name: str) -> str:
    """The variable that wins over this key of ``settings``."""
    return f"HUB_{name.upper()}"


def seed_variable(name: str) -> str:
    """The seed's variable for this key of ``settings``."""
    return _SEED_VARIABLES.get(name, name.upper())
