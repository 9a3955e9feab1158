"""Where settings come from, and which source wins (P14)."""

import re
from pathlib import Path

import pytest
from pydantic import AliasChoices

from hub.config import hub_variable
from hub.errors import SettingsError
from hub.settings import HubSettings, ProgramOverrides, SeedVariables, load_settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a .env."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_anything_the_hub_is_private_to_this_machine_and_embedded(elsewhere: Path) -> None:
    hub = load_settings().hub
    assert (hub.api_host, hub.api_port) == ("127.0.0.1", 8001)
    assert hub.bus_url.get_secret_value() == "embedded"
    assert hub.config_path == elsewhere / "config.yaml"
    assert hub.state_path == elsewhere / ".hub"


def test_a_flag_wins_over_hub_variables_over_the_seeds_over_the_env_file(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / ".env").write_text("API_PORT=1001\nAPI_HOST=10.0.0.1\n")
    assert load_settings().hub.api_port == 1001
    monkeypatch.setenv("API_PORT", "1002")
    assert load_settings().hub.api_port == 1002
    monkeypatch.setenv("HUB_API_PORT", "1003")
    assert load_settings().hub.api_port == 1003
    assert load_settings(api_port=1004, api_host=None).hub.api_port == 1004
    assert load_settings(api_port=1004, api_host=None).hub.api_host == "10.0.0.1"


def test_a_variable_that_is_set_but_empty_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "")
    monkeypatch.setenv("DOCKER_HOST", "")
    assert load_settings().hub.api_port == 8001


def test_p14_the_programs_settings_are_gathered_above_and_below_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_MAX_CONCURRENT_EXECUTIONS", "7")
    monkeypatch.setenv("HUB_MEMORY_LIMIT", "64m")
    for name, value in {"MAX_EXECUTIONS": "50", "EXECUTION_TIMEOUT": "30", "MEMORY_LIMIT": "2g", "CPU_LIMIT": "1"}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.overrides == {"max_concurrent_executions": "7", "memory_limit": "64m"}
    assert settings.fallbacks == {"max_executions": "50", "timeout_seconds": "30", "memory_limit": "2g", "cpu_limit": "1"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_PORT", "http"),
        ("API_PORT", "70000"),
        ("HUB_LOG_LEVEL", "LOUD"),
        ("HUB_QUEUE_LENGTH", "0"),
        ("HUB_INSTANCE", "a b"),
        ("DOCKER_HOST", "tcp://10.0.0.1:2375"),
    ],
)
def test_a_value_that_can_not_be_used_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name) as refused:
        load_settings()
    assert value not in str(refused.value) or len(value) == 1


def test_the_project_folder_is_that_of_config_yaml_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_CONFIG", "/project/config.yaml")
    assert load_settings().hub.project_path == Path("/project")
    assert load_settings().hub.state_path == Path("/project/.hub")
    monkeypatch.setenv("PROJECT_DIR", "/elsewhere")
    assert load_settings().hub.project_path == Path("/elsewhere")


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_PASSWORD", "hunter2")
    monkeypatch.setenv("SECRET_KEY", "hunter3" * 5)
    monkeypatch.setenv("HUB_BUS_URL", "amqp://me:hunter4@localhost/")
    assert "hunter" not in repr(load_settings())


def test_o2_p14_every_variable_of_env_example_is_one_that_the_hub_reads_and_its_values_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[3]
    lines = (root / "env.example").read_text(encoding="utf-8").splitlines()
    # Below this line are those that only Compose reads.
    ours, _, of_compose = "\n".join(lines).partition("# docker-compose.yml\n")
    assignments = dict(re.findall(r"(?m)^#?([A-Z_]+)=(.*)$", ours))
    read = {hub_variable(name) for name in ProgramOverrides.model_fields} | {
        str(variable)
        for model in (HubSettings, SeedVariables)
        for field in model.model_fields.values()
        if isinstance(field.validation_alias, AliasChoices)
        for variable in field.validation_alias.choices
    }
    read |= set(re.findall(r"\$\(setting ([A-Z_]+) ", (root / "execute_bot.sh").read_text(encoding="utf-8")))
    assert assignments.keys() <= read
    compose = (root / "docker-compose.yml").read_text(encoding="utf-8")
    assert all(f"${{{name}:-" in compose for name in re.findall(r"(?m)^#([A-Z_]+)=", of_compose))
    assert {"HOST_PROJECT_DIR", "MAX_EXECUTIONS", "EXECUTION_TIMEOUT", "MEMORY_LIMIT", "CPU_LIMIT"} < assignments.keys()
    assert {"API_HOST", "API_PORT"} < assignments.keys()

    for variable in assignments:
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / ".env").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    settings = load_settings()

    assert (settings.hub.api_host, settings.hub.api_port) == ("127.0.0.1", 8001)
    assert settings.fallbacks == {
        "max_executions": "10000",
        "timeout_seconds": "300",
        "memory_limit": "1g",
        "cpu_limit": "0.5",
    }


def test_o3_the_port_is_8001_or_what_api_port_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().hub.api_port == 8001
    monkeypatch.setenv("API_PORT", "9000")
    assert load_settings().hub.api_port == 9000


def test_the_address_of_the_bus_may_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("amqp://runner:secret@broker/hub\n", encoding="utf-8")
    monkeypatch.setenv("HUB_BUS_URL", "embedded")
    monkeypatch.setenv("HUB_BUS_URL_FILE", str(tmp_path / "url"))
    assert load_settings().hub.bus_url.get_secret_value() == "amqp://runner:secret@broker/hub"

    monkeypatch.setenv("HUB_BUS_URL_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match=r"HUB_BUS_URL_FILE: .*nowhere can't be read \(No such file or directory\)"):
        load_settings()
