"""docker-compose.yml, held against the settings that it passes on."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub.config import hub_variable
from hub.settings import ProgramOverrides, SeedVariables

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return content


def test_every_variable_for_programs_reaches_gateway_and_runners_p14(compose: dict[str, Any]) -> None:
    variables = {hub_variable(name) for name in ProgramOverrides.model_fields}
    variables |= {str(alias) for field in SeedVariables.model_fields.values() for alias in field.validation_alias.choices}  # type: ignore[union-attr]
    for service in ("pyexecutorhub-api", "runner", "runner-2"):
        environment = compose["services"][service]["environment"]
        assert variables <= set(environment), variables - set(environment)
        for name in variables:
            assert environment[name] == f"${{{name}:-}}"


def test_every_variable_of_the_compose_file_is_explained_in_env_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    explained = set(re.findall(r"^#?(\w+)=", (ROOT / "env.example").read_text(encoding="utf-8"), re.MULTILINE))
    assert used - explained == set()


def test_the_two_runners_differ_in_their_state_alone(compose: dict[str, Any]) -> None:
    first, second = compose["services"]["runner"], compose["services"]["runner-2"]
    assert "runner-state:/state" in first["volumes"]
    assert "runner-2-state:/state" in second["volumes"]
    assert {**first, "volumes": first["volumes"][:-1]} == {**second, "volumes": second["volumes"][:-1]}
