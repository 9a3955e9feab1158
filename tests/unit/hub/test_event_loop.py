"""Which event loop services run on."""

import asyncio
from importlib.util import find_spec

import pytest

from hub import event_loop
from hub.errors import SettingsError
from hub.event_loop import EventLoop, run


async def loop_in_use() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


def test_services_run_on_uvloop_where_it_is_installed_and_else_on_pythons_own_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(loop_in_use(), EventLoop.AUTO) == ("asyncio" if find_spec("uvloop") is None else "uvloop")
    assert run(loop_in_use(), EventLoop.ASYNCIO) == "asyncio"
    monkeypatch.setattr(event_loop, "find_spec", lambda _: None)
    assert run(loop_in_use(), EventLoop.AUTO) == "asyncio"


def test_uvloop_that_is_wanted_and_not_installed_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_loop, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match="pip install"):
        run(loop_in_use(), EventLoop.UVLOOP)
