"""Where settings come from, as ``pyexecutorhub config show --origin`` says it."""

from pathlib import Path

import pytest

from hub import origins
from hub.bootstrap import config_file
from hub.settings import load_settings


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
