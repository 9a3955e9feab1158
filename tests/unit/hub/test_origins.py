"""Where settings come from, as ``pyexecutorhub config show --origin`` says it."""

from pathlib import Path

import pytest
from pydantic import AliasChoices

from hub import origins
from hub.bootstrap import config_file
from hub.settings import HubSettings, ProgramOverrides, SeedVariables, load_settings
from schemas.settings import ProgramSettings


def shown(tmp_path: Path, **flags: object) -> dict[str, tuple[str, str]]:
    settings = load_settings(config=tmp_path / "config.yaml", **flags)
    rows = [*origins.program_settings(config_file(settings), settings), *origins.hub_settings(settings.hub, flags)]
    return {row.name: (row.value, row.source) for row in rows}


def test_p14_each_setting_names_its_origin_by_the_documented_precedence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("settings:\n  memory_limit: 2g\n  cpu_limit: 1\n  pids_limit:\n", encoding="utf-8")
    (tmp_path / ".env").write_text("MAX_EXECUTIONS=50\nAPI_HOST=0.0.0.0\nSECRET_KEY=" + "k" * 40 + "\n", encoding="utf-8")
    monkeypatch.setenv("HUB_CPU_LIMIT", "0.25")
    monkeypatch.setenv("MEMORY_LIMIT", "512m")
    monkeypatch.setenv("EXECUTION_TIMEOUT", "60")
    monkeypatch.setenv("HUB_BUS_URL", "amqp://hub:password@broker/")

    rows = shown(tmp_path, api_port=9000)

    assert rows["cpu_limit"] == ("0.25", "variable HUB_CPU_LIMIT")
    assert rows["memory_limit"] == ("2g", "config.yaml:2")
    assert rows["timeout_seconds"] == ("60", "variable EXECUTION_TIMEOUT")
    assert rows["max_executions"] == ("50", ".env: MAX_EXECUTIONS")
    # A key with nothing behind it counts as not written.
    assert rows["pids_limit"] == ("256", "default")
    assert rows["api_host"] == ("0.0.0.0", ".env: API_HOST")
    assert rows["api_port"] == ("9000", "flag")
    assert rows["bus_url"] == ("**********", "variable HUB_BUS_URL")
    assert rows["secret_key"] == ("**********", ".env: SECRET_KEY")
    assert rows["queue_length"] == ("100000", "default")


#: A value for each setting that is neither its default nor the one that the test's config.yaml has.
VALUES = {
    "docker_image": "mine:1",
    "timeout_seconds": "7",
    "max_concurrent_executions": "3",
    "memory_limit": "64m",
    "cpu_limit": "0.25",
    "pids_limit": "9",
    "network": "none",
    "stop_grace_seconds": "2",
    "action_timeout_seconds": "8",
    "install_timeout_seconds": "90",
    "on_limit": "reject",
    "retry": "3",
    "output_limit": "5m",
    "max_executions": "77",
}
SEED = {"max_executions": "MAX_EXECUTIONS", "timeout_seconds": "EXECUTION_TIMEOUT", "memory_limit": "MEMORY_LIMIT"}
SEED |= {"cpu_limit": "CPU_LIMIT"}


def test_p14_every_setting_of_programs_has_its_variable() -> None:
    # A pool is the one of a runner, and not of all that have no pool of their own.
    assert set(VALUES) == set(ProgramOverrides.model_fields) == set(ProgramSettings.model_fields) - {"pool"}
    assert set(SEED) == set(SeedVariables.model_fields)


@pytest.mark.parametrize("name", VALUES)
def test_p14_a_hub_variable_wins_over_the_file_and_over_the_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    default = shown(_config(tmp_path, ""))[name][0]
    assert default != VALUES[name]
    _config(tmp_path, f"settings:\n  {name}: {default}\n")
    if name in SEED:
        monkeypatch.setenv(SEED[name], default)
    assert shown(tmp_path)[name] == (default, "config.yaml:2")
    (tmp_path / ".env").write_text(f"HUB_{name.upper()}={VALUES[name]}\n", encoding="utf-8")
    assert shown(tmp_path)[name] == (VALUES[name], f".env: HUB_{name.upper()}")
    monkeypatch.setenv(f"HUB_{name.upper()}", VALUES[name])
    assert shown(tmp_path)[name] == (VALUES[name], f"variable HUB_{name.upper()}")


@pytest.mark.parametrize("name", SEED)
def test_p14_a_variable_of_the_seed_loses_to_the_file_and_wins_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _config(tmp_path, "")
    monkeypatch.setenv(SEED[name], VALUES[name])
    assert shown(tmp_path)[name] == (VALUES[name], f"variable {SEED[name]}")
    _config(tmp_path, f"settings:\n  {name}:\n")
    # Nothing behind the key: as if it were not there.
    assert shown(tmp_path)[name] == (VALUES[name], f"variable {SEED[name]}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOST_PROJECT_DIR", "/seen/by/docker"),
        ("HUB_HOST_PROJECT_DIR", "/seen/by/docker"),
        ("PROJECT_DIR", "/project"),
        ("HUB_PROJECT_DIR", "/project"),
        ("API_HOST", "10.0.0.1"),
        ("HUB_API_HOST", "10.0.0.1"),
        ("API_PORT", "9000"),
        ("HUB_API_PORT", "9000"),
        ("HUB_STATE_DIR", "/state"),
        ("HUB_LOG_LEVEL", "DEBUG"),
        ("HUB_LOG_FILE", "/log"),
        ("HUB_USERNAME", "ada"),
        ("HUB_QUEUE_LENGTH", "5"),
        ("HUB_POOL", "slow"),
        ("HUB_INSTANCE", "one"),
        ("HUB_RUNNER_ID", "two"),
        ("DOCKER_HOST", "unix:///docker"),
        ("HUB_DOCKER_HOST", "unix:///docker"),
        ("HUB_STOP_SECONDS", "9.0"),
        ("HUB_LEAVE_SECONDS", "7.0"),
    ],
)
def test_p14_every_variable_of_the_hub_is_honoured_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _config(tmp_path, "")
    (field,) = [
        key
        for key, one in HubSettings.model_fields.items()
        if isinstance(one.validation_alias, AliasChoices) and name in one.validation_alias.choices
    ]
    assert shown(tmp_path)[field][1] == "default"
    monkeypatch.setenv(name, value)
    assert shown(tmp_path)[field] == (value, f"variable {name}")


def test_p14_the_environment_wins_over_the_env_file_under_any_name_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _config(tmp_path, "")
    (tmp_path / ".env").write_text("HUB_API_PORT=1001\n", encoding="utf-8")
    assert shown(tmp_path)["api_port"] == ("1001", ".env: HUB_API_PORT")
    monkeypatch.setenv("API_PORT", "1002")
    assert shown(tmp_path)["api_port"] == ("1002", "variable API_PORT")


def _config(folder: Path, text: str) -> Path:
    (folder / "config.yaml").write_text(text or "scripts:\n", encoding="utf-8")
    return folder
