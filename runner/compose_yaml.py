"""Compose files as YAML: read without trust in who wrote them. Pure.

Compose reads YAML as version 1.2 has it: ``on`` and ``22:22`` are text, not a truth value and a number to base 60.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from runner.errors import RunnerError

#: Bytes of a file.
LONGEST_FILE = 64 * 1024
#: Values that a file may stand for, with every alias written out.
_MOST_VALUES = 20_000
_DEEPEST = 40


class BadYaml(RunnerError):
    """It is no YAML that can be used; the text says why."""


class _Loader(yaml.SafeLoader):
    """Mappings, lists, text, numbers, truth values and null; nothing else."""

    # Of its own: what is registered below must not reach other users of the library.
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - the base class has it so
    yaml_constructors = {
        f"tag:yaml.org,2002:{tag}": yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{tag}"]
        for tag in ("null", "bool", "float", "str", "seq")
    } | {None: yaml.SafeLoader.yaml_constructors[None]}  # which refuses every other tag


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*|0o?[0-7]+)", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> Iterator[dict[Any, Any]]:
    mapping: dict[Any, Any] = {}
    yield mapping
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool | None) or key in seen:
            # Readers differ in which one counts.
            raise BadYaml(f"line {key_node.start_mark.line + 1}: the key '{key}' is there twice, or is no text")
        seen.add(key)
    loader.flatten_mapping(node)
    mapping.update({str(key): value for key, value in loader.construct_mapping(node, deep=True).items()})


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    digits = text.lstrip("+-").replace("o", "", 1)
    number = int(digits, 8) if len(digits) > 1 and digits[0] == "0" else int(digits)
    return -number if text.startswith("-") else number


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def read_yaml(content: bytes, *, longest: int = LONGEST_FILE) -> dict[str, Any]:
    """The mapping that a file is, which has ``longest`` bytes at most.

    Raises:
        BadYaml: it is none, is too large, or says something twice.
    """
    if len(content) > longest:
        raise BadYaml(f"it is longer than {longest // 1024} KiB")
    try:
        document = yaml.load(content.decode("utf-8-sig"), _Loader)  # noqa: S506 - it is a SafeLoader
    except UnicodeDecodeError as error:
        raise BadYaml("it is not UTF-8 text") from error
    except (yaml.YAMLError, ValueError) as error:
        raise BadYaml(" ".join(str(error).split())[:500]) from error
    except RecursionError as error:
        raise BadYaml("it is nested too deeply") from error
    if not isinstance(document, dict):
        raise BadYaml("it is not a mapping of keys to values")
    _measure(document)
    return document


def _measure(document: Any) -> None:
    """Refuse what is small as a file and huge, or endless, with its aliases written out."""
    count = 0
    left = [(document, 0)]
    while left:
        value, depth = left.pop()
        count += 1
        if count > _MOST_VALUES or depth > _DEEPEST:
            raise BadYaml("it stands for too much: too many values, or nested too deeply")
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        left.extend((each, depth + 1) for each in inner)
