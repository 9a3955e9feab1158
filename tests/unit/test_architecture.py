"""The packages depend in one direction, and each foreign library has one home."""

import ast
import functools
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture import DIRECTION, RESERVED

ROOT = Path(__file__).parents[2]


def modules() -> Iterator[tuple[str, Path]]:
    for package in DIRECTION:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


@functools.cache
def imports(path: Path) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            assert node.module is not None
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def is_within(module: str, name: str) -> bool:
    return module == name or module.startswith(f"{name}.")


def test_packages_import_in_the_direction_of_the_table_only() -> None:
    offences = [
        f"{module} imports {imported}"
        for module, path in modules()
        for imported in imports(path)
        if (package := imported.partition(".")[0]) in DIRECTION
        and package != (own := module.partition(".")[0])
        and package not in DIRECTION[own]
    ]
    assert offences == []


@pytest.mark.parametrize("library", RESERVED)
def test_a_library_is_imported_by_its_own_files_only(library: str) -> None:
    offences = [
        module
        for module, path in modules()
        if any(is_within(imported, library) for imported in imports(path)) and not module.startswith(RESERVED[library])
    ]
    assert offences == []


def test_no_module_is_named_like_one_of_the_standard_library() -> None:
    names = {path.stem for _, path in modules()} - {"__init__", "__main__"}
    # schemas.events and the like are reached by their full name; what shadows is a bare name that tools put on the path.
    assert names & (set(sys.stdlib_module_names) - {"errors"}) == set()


def test_nobody_else_owns_our_import_names() -> None:
    owners = importlib.metadata.packages_distributions()
    for package in DIRECTION:
        assert set(owners.get(package, ["pyexecutorhub"])) == {"pyexecutorhub"}, package


def test_every_package_is_in_the_distribution() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = text.partition("packages = [")[2].partition("]")[0]
    for module, path in modules():
        if path.name == "__init__.py":
            assert f'"{module}"' in listed, module


def test_containers_are_made_in_one_place_which_leaves_none_half_made() -> None:
    makers = [module for module, path in modules() if ".containers.create(" in path.read_text(encoding="utf-8")]
    assert makers == ["runner.docker_creation"]
