"""Accounts: A1, A3, A7, A8. With the cheapest parameters of argon2; the real ones are tried once."""

import asyncio
import json
import multiprocessing
import os
import re
import stat
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from structlog.testing import capture_logs

from hub.accounts import FILE_NAME, Accounts, Credentials, banner, open_accounts, rotate
from hub.errors import BadSecretsFile, SettingsError

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def opened(
    state_dir: Path, *, username: str | None = None, password: str | None = None, secret_key: str | None = None
) -> tuple[Accounts, Credentials | None]:
    return open_accounts(state_dir, username=username, password=password, secret_key=secret_key, hasher=CHEAP)


def created(state_dir: Path) -> Credentials:
    _, credentials = opened(state_dir)
    assert credentials is not None
    return credentials


async def test_a1_the_first_start_makes_credentials_that_survive_restarts(tmp_path: Path) -> None:
    first, made = opened(tmp_path)
    second, again = opened(tmp_path)

    assert made is not None
    assert again is None
    assert first.signing_key == second.signing_key
    assert len(first.signing_key) == 32
    for accounts in (first, second):
        assert accounts.username == made.username
        assert await accounts.verify(made.username, made.password)
        accounts.close()


def test_a1_credentials_are_random_and_long_enough(tmp_path: Path) -> None:
    made = [created(tmp_path / str(number)) for number in range(5)]

    assert len({one.username for one in made}) == len({one.password for one in made}) == 5
    for one in made:
        assert re.fullmatch(r"[a-z][a-z0-9]{7,}", one.username)
        # 62 characters carry 5.95 bits each: 22 of them are 130 bits.
        assert re.fullmatch(r"[A-Za-z0-9]{22,}", one.password)


@pytest.mark.parametrize(
    ("username", "password"),
    [("tester", "wrong"), ("nobody", "right"), ("", ""), ("tester", ""), ("t\ud800", "\ud800"), ("téster", "right")],
)
async def test_a3_a_wrong_user_or_password_is_refused(tmp_path: Path, username: str, password: str) -> None:
    accounts, _ = opened(tmp_path, username="tester", password="right")

    assert await accounts.verify("tester", "right")
    assert not await accounts.verify(username, password)
    accounts.close()


async def test_a3_an_unknown_user_costs_a_hash_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts, _ = opened(tmp_path, username="tester", password="right")
    hashes = 0
    verify = PasswordHasher.verify

    def counted(hasher: PasswordHasher, stored: str | bytes, password: str | bytes) -> bool:
        nonlocal hashes
        hashes += 1
        return verify(hasher, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    await accounts.verify("nobody", "right")

    assert hashes == 1
    accounts.close()


async def test_a3_checks_do_not_block_the_loop_and_run_two_at_a_time(tmp_path: Path) -> None:
    accounts, _ = opened(tmp_path, username="tester", password="right")

    assert all(await asyncio.gather(*(accounts.verify("tester", "right") for _ in range(20))))
    assert len(accounts._checks._threads) <= 2
    accounts.close()


def test_a7_the_file_is_for_its_owner_alone_and_holds_no_password(tmp_path: Path) -> None:
    made = created(tmp_path)

    path = tmp_path / FILE_NAME
    content = path.read_text(encoding="utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.password not in content
    assert json.loads(content)["password_hash"].startswith("$argon2id$")
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE_NAME]


def test_a7_the_password_is_in_no_log_and_no_repr(tmp_path: Path) -> None:
    with capture_logs() as lines:
        accounts, made = opened(tmp_path)
        opened(tmp_path, password="canary-password")

    assert made is not None
    assert made.password not in repr(lines) + repr(made) + repr(accounts)
    assert "canary-password" not in repr(lines)


async def test_a1_presets_decide_and_show_no_banner(tmp_path: Path) -> None:
    accounts, made = opened(tmp_path, username="tester", password="short")

    assert made is None
    assert await accounts.verify("tester", "short")
    accounts.close()


async def test_a1_a_preset_name_alone_gets_a_generated_password(tmp_path: Path) -> None:
    accounts, made = opened(tmp_path, username="tester")

    assert made is not None
    assert made.username == "tester"
    assert await accounts.verify("tester", made.password)
    accounts.close()


async def test_a1_a_preset_password_replaces_the_one_that_was_there(tmp_path: Path) -> None:
    made = created(tmp_path)
    accounts, shown = opened(tmp_path, password="another")

    assert shown is None
    assert await accounts.verify(made.username, "another")
    assert not await accounts.verify(made.username, made.password)
    accounts.close()


def test_the_same_presets_again_change_nothing(tmp_path: Path) -> None:
    opened(tmp_path, username="tester", password="right")
    before = (tmp_path / FILE_NAME).stat()
    opened(tmp_path, username="tester", password="right")

    assert (tmp_path / FILE_NAME).stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    "presets", [{"username": ""}, {"username": "x" * 257}, {"username": "a\nb"}, {"username": "a\udcff"}, {"password": ""}]
)
def test_a_preset_that_can_not_be_used_is_named(tmp_path: Path, presets: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="HUB_" + next(iter(presets)).upper()):
        opened(tmp_path, **presets)
    assert not (tmp_path / FILE_NAME).exists()


def test_a8_a_secret_key_signs_and_is_not_stored(tmp_path: Path) -> None:
    key = "k" * 31 + "é"

    accounts, _ = opened(tmp_path, secret_key=key)

    assert accounts.signing_key == key.encode()
    assert key not in (tmp_path / FILE_NAME).read_text(encoding="utf-8")


def test_a8_a_short_secret_key_is_refused_without_repeating_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="31 bytes and must have at least 32") as caught:
        opened(tmp_path, secret_key="canary-".ljust(31, "x"))
    assert "canary" not in str(caught.value)


async def test_fault33_rotation_replaces_user_password_and_key(tmp_path: Path) -> None:
    before, old = opened(tmp_path)
    new = rotate(tmp_path, hasher=CHEAP)
    after, shown = opened(tmp_path)

    assert old is not None
    assert shown is None
    assert await after.verify(new.username, new.password)
    assert not await after.verify(old.username, old.password)
    assert after.signing_key != before.signing_key
    for accounts in (before, after):
        accounts.close()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"username": "a", "password_hash": "plain", "signing_key": ""}', b"\xff"],
)
def test_a_damaged_file_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(BadSecretsFile, match=re.escape(str(path))):
        opened(tmp_path)
    assert path.read_bytes() == content


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    created(tmp_path)
    (tmp_path / FILE_NAME).chmod(0o640)

    with pytest.raises(BadSecretsFile, match="others may read it"):
        opened(tmp_path)


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    created(tmp_path / "elsewhere")
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "elsewhere" / FILE_NAME)

    with pytest.raises(BadSecretsFile):
        opened(tmp_path)


def test_a_place_that_can_not_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadSecretsFile, match="Not a directory"):
        opened(tmp_path / "file" / "state")

    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(BadSecretsFile, match="can't be written: Is a directory"):
        rotate(tmp_path, hasher=CHEAP)
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", FILE_NAME}


def test_processes_that_start_together_agree_on_one_set_of_credentials(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        results = pool.map(_first_start, [os.fspath(tmp_path)] * 8)

    assert len({key for key, _ in results}) == 1
    assert len([shown for _, shown in results if shown]) == 1


def _first_start(state_dir: str) -> tuple[bytes, bool]:
    accounts, shown = opened(Path(state_dir))
    return accounts.signing_key, shown is not None


async def test_the_real_parameters_are_argon2id_and_fit(tmp_path: Path) -> None:
    accounts, made = open_accounts(tmp_path)

    assert made is not None
    assert await accounts.verify(made.username, made.password)
    assert "$argon2id$v=19$m=19456,t=2,p=1$" in (tmp_path / FILE_NAME).read_text(encoding="utf-8")
    accounts.close()


def test_b12_the_banner_has_the_lines_that_people_grep_for() -> None:
    lines = banner(Credentials(username="anna", password="secret")).splitlines()

    assert "CREDENCIALES DE USO" in lines
    start = lines.index("CREDENCIALES DE USO")
    # As in: docker compose logs … | grep -A 5 "CREDENCIALES DE USO"
    assert {"Usuario: anna", "Password: secret"} <= set(lines[start : start + 6])
