"""YAML text as tables of values that know where they stand. Stricter than YAML: no aliases, no repeated keys."""

from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.reader import Reader

from hub.config_problems import ConfigProblem
from hub.errors import ConfigError

#: Longest document, in bytes.
MAX_BYTES = 1024 * 1024
#: Deepest nesting; a program's field lies at 3.
_MAX_DEPTH = 16

# libyaml where PyYAML was built with it: six times faster, the same rules.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the text, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value, or a list of values."""

    place: Place
    value: Any
    #: The value as it was typed; empty for a list.
    text: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a table, and what it is set to."""

    place: Place
    node: "Node"


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping. Keys are text, as they were typed."""

    place: Place
    entries: dict[str, Entry] = field(default_factory=dict)


Node = Scalar | Table


def read_document(text: str, *, source: str) -> tuple[Node, list[ConfigProblem]]:
    """The document, and mistakes that do not keep the rest of it from being judged.

    Raises:
        ConfigError: it is not YAML, or YAML that is not allowed here.
    """
    return _Document(text, source).read()


class _Document:
    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._problems: list[ConfigProblem] = []

    def read(self) -> tuple[Node, list[ConfigProblem]]:
        self._refuse_odd_text()
        try:
            self._refuse_odd_structure()
            root = yaml.compose(self._text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            message = ", ".join(part for part in (error.context, error.problem) if part)
            raise ConfigError([self._problem(message, error.problem_mark or error.context_mark)]) from error
        except yaml.YAMLError as error:
            raise ConfigError([self._problem(f"it is not YAML: {error}")]) from error
        if root is None:
            # An empty file is nearly always one that an editor has not finished writing.
            raise ConfigError([self._problem("it is empty: write the sections scripts, bots and settings")])
        return self._node(root), self._problems

    def _refuse_odd_text(self) -> None:
        if len(self._text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
            raise ConfigError([self._problem(f"it is longer than {MAX_BYTES} bytes")])
        odd = Reader.NON_PRINTABLE.search(self._text)
        if odd is not None:
            before = self._text[: odd.start()]
            line, column = before.count("\n") + 1, odd.start() - before.rfind("\n")
            message = f"the character U+{ord(odd[0]):04X} is not allowed"
            raise ConfigError([ConfigProblem(message=message, source=self._source, line=line, column=column)])

    def _refuse_odd_structure(self) -> None:
        # On the flat list of events, because what it refuses (a few aliases that stand for gigabytes, endless nesting, values
        # that are not what their tag says) hurts whoever builds the tree.
        depth = 0
        for event in yaml.parse(self._text, Loader=_LOADER):
            if isinstance(event, yaml.AliasEvent):
                self._problems.append(self._problem("aliases are not allowed: write the value out", event.start_mark))
            if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
                self._problems.append(self._problem(f"tags are not allowed: {event.tag}", event.start_mark))
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _MAX_DEPTH:
                    raise ConfigError([self._problem(f"it is nested deeper than {_MAX_DEPTH} levels", event.start_mark)])
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
        if self._problems:
            raise ConfigError(self._problems)

    def _node(self, node: yaml.Node) -> Node:
        place = _place(node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self._table(place, node)
        if isinstance(node, yaml.SequenceNode):
            return Scalar(place, [self._node(item) for item in node.value])
        try:
            return Scalar(place, SafeConstructor().construct_object(node), str(node.value))
        except (yaml.YAMLError, ValueError, ArithmeticError):
            # Such as a date that no calendar has.
            self._problems.append(self._problem(f"{node.value!r} can't be read: put text in quotes", node.start_mark))
            return Scalar(place, None, str(node.value))

    def _table(self, place: Place, node: yaml.MappingNode) -> Table:
        table = Table(place)
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problems.append(self._problem("a key must be text", key.start_mark))
                continue
            first = table.entries.get(key.value)
            if first is not None:
                message = f"{key.value!r} stands here twice: first in line {first.place.line}"
                self._problems.append(self._problem(message, key.start_mark))
                continue
            table.entries[key.value] = Entry(_place(key.start_mark), self._node(value))
        return table

    def _problem(self, message: str, mark: Any = None) -> ConfigProblem:
        place = _place(mark) if mark is not None else None
        return ConfigProblem(
            message=message,
            source=self._source,
            line=place.line if place else None,
            column=place.column if place else None,
        )


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)
