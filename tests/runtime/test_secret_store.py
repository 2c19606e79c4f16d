"""Stored secrets on each database: sealed, versioned, bound to their name, and re-wrapped when the master key changes."""

import base64
import itertools
import os
import random
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from tools.envelope import MasterKey, Sealed, rewrap, seal, unseal
from tools.errors import BadMasterKey, BadSecret, SecretLocked, UnknownSecret
from tools.master_keys import GivenKeys, KeyFile
from tools.outcome import CallFault
from tools.secret_bounds import Bounds
from tools.secret_store import SecretStore, StoredSecret
from tools.secrets import BoundSecret, EnvironmentSecrets, StoredSecrets
from tools.tables import secrets

HOSTS = ("api.example.com",)
BOUNDS = Bounds(HOSTS)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LINES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4, max_size=200)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "master.key"


@pytest.fixture
def store(engine: sa.Engine, key_file: Path) -> SecretStore:
    hours = itertools.count()
    return SecretStore(engine, KeyFile(key_file), now=lambda: NOON + timedelta(hours=next(hours)))


def value_of(store: SecretStore, name: str) -> str | None:
    found = store.find(name)
    return found[0] if found is not None else None


def rows(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(sa.select(secrets).order_by(secrets.c.name, secrets.c.version)).all())


def base64_key(byte: int) -> str:
    return base64.b64encode(bytes([byte]) * 32).decode()


def change(engine: sa.Engine, name: str, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(sa.update(secrets).where(secrets.c.name == name).values(values))


def test_a_value_comes_back_for_calls_and_its_row_does_not_hold_it(store: SecretStore, engine: sa.Engine) -> None:
    told = store.set("PETS", "  sk-canary-1\n", hosts=HOSTS)
    assert told == StoredSecret("PETS", 1, NOON, NOON, opens=True, bounds=BOUNDS)
    assert value_of(store, "PETS") == "sk-canary-1"
    assert value_of(store, "OTHER") is None
    (row,) = rows(engine)
    assert b"canary" not in row.sealed + row.data_key


def test_a_new_value_is_a_new_version_and_erases_the_one_before(store: SecretStore, engine: sa.Engine) -> None:
    store.set("PETS", "first-value", hosts=HOSTS)
    store.set("PETS", "second-value", hosts=HOSTS)
    assert value_of(store, "PETS") == "second-value"
    assert store.list() == [StoredSecret("PETS", 2, NOON, NOON + timedelta(hours=1), opens=True, bounds=BOUNDS)]
    old, new = rows(engine)
    assert (old.version, old.sealed, old.data_key, old.key_id) == (1, None, None, None)
    assert new.retired_at is None


def test_a_removed_secret_is_gone_and_its_versions_are_not_used_again(store: SecretStore) -> None:
    store.set("PETS", "first-value", hosts=HOSTS)
    store.remove(["PETS"])
    assert (value_of(store, "PETS"), store.list()) == (None, [])
    with pytest.raises(UnknownSecret, match=r"no secret named 'PETS' is stored; there are: none"):
        store.remove(["PETS"])
    assert store.set("PETS", "second-value", hosts=HOSTS).version == 2


def test_secrets_are_removed_all_or_none(store: SecretStore) -> None:
    store.set("PETS", "first-value", hosts=HOSTS)
    with pytest.raises(UnknownSecret, match=r"'PETZ'.*did you mean PETS\?"):
        store.remove(["PETS", "PETZ"])
    assert value_of(store, "PETS") == "first-value"


@pytest.mark.parametrize("name", ["pets", "1PETS", "", "A" * 65, "PETS\n", "sk-live-canary"])
def test_what_is_no_name_is_refused_and_not_repeated(store: SecretStore, name: str) -> None:
    for act in (lambda: store.set(name, "a-value", hosts=HOSTS), lambda: store.remove([name])):
        with pytest.raises(BadSecret, match="this is no name of a secret") as caught:
            act()
        assert caught.value.__cause__ is None
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", "has 0 characters"),
        (" abc ", "has 3 characters"),
        ("x" * 8193, "has 8,193 characters"),
        ("canary\nline", "cannot carry"),
        ("canary\x00", "cannot carry"),
        ("canarÿ", "cannot carry"),
    ],
)
def test_a_value_that_no_request_carries_is_refused_and_not_shown(
    store: SecretStore, engine: sa.Engine, value: str, told: str
) -> None:
    with pytest.raises(BadSecret, match=told) as caught:
        store.set("PETS", value, hosts=HOSTS)
    assert "canar" not in str(caught.value)
    assert rows(engine) == []


def test_a_row_copied_onto_another_name_does_not_open(store: SecretStore, engine: sa.Engine) -> None:
    store.set("CHEAP", "value-of-cheap", hosts=HOSTS)
    store.set("DEAR", "value-of-dear", hosts=HOSTS)
    dear = next(row for row in rows(engine) if row.name == "DEAR")
    change(engine, "CHEAP", sealed=dear.sealed, data_key=dear.data_key, key_id=dear.key_id)
    with pytest.raises(SecretLocked, match=r"CHEAP \(version 1\) does not open: .*hone secrets set CHEAP"):
        value_of(store, "CHEAP")
    with engine.begin() as connection:
        connection.execute(sa.delete(secrets).where(secrets.c.name == "CHEAP"))
        connection.execute(sa.update(secrets).values(name="CHEAP"))
    with pytest.raises(SecretLocked):
        value_of(store, "CHEAP")


def test_a_value_moved_under_the_data_key_of_another_version_does_not_open(
    store: SecretStore, engine: sa.Engine
) -> None:
    store.set("PETS", "first-value", hosts=HOSTS)
    before = rows(engine)[0]
    store.set("PETS", "second-value", hosts=HOSTS)
    change(engine, "PETS", sealed=before.sealed, data_key=before.data_key, key_id=before.key_id)
    with pytest.raises(SecretLocked, match="version 2"):
        value_of(store, "PETS")


@given(value=LINES, at=st.integers(min_value=0), part=st.sampled_from(["value", "data_key"]), bit=st.integers(0, 7))
def test_one_changed_bit_anywhere_is_seen(value: str, at: int, part: str, bit: int) -> None:
    key = MasterKey.generate()
    sealed = seal(value, "PETS", 3, key)
    assert unseal(sealed, "PETS", 3, key) == value
    damaged = bytearray(getattr(sealed, part))
    damaged[at % len(damaged)] ^= 1 << bit
    parts = {"key_id": sealed.key_id, "data_key": sealed.data_key, "value": sealed.value, part: bytes(damaged)}
    with pytest.raises(SecretLocked):
        unseal(Sealed(**parts), "PETS", 3, key)


@pytest.mark.parametrize("length", [0, 1, 11, 12, 27, 28])
def test_a_truncated_row_is_locked_not_a_crash(length: int) -> None:
    key = MasterKey.generate()
    sealed = seal("a-value", "PETS", 1, key)
    for cut in (
        Sealed(key.id, sealed.data_key[:length], sealed.value),
        Sealed(key.id, sealed.data_key, sealed.value[:length]),
    ):
        with pytest.raises(SecretLocked):
            unseal(cut, "PETS", 1, key)
    with pytest.raises(SecretLocked):
        rewrap(Sealed(key.id, sealed.data_key[:length], sealed.value), "PETS", 1, old=key, new=MasterKey.generate())


def test_nothing_that_is_printed_holds_a_key_or_a_value() -> None:
    key = MasterKey(b"canary-" + bytes(25))
    assert "canary" not in repr(key)
    assert repr(seal("a-value", "PETS", 1, key)) == f"Sealed(key_id='{key.id}')"


def test_the_key_file_is_made_on_first_use_for_its_owner_alone(store: SecretStore, key_file: Path) -> None:
    assert store.list() == []
    assert not key_file.exists()
    previous = os.umask(0)
    try:
        store.set("PETS", "a-value", hosts=HOSTS)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert [path.name for path in key_file.parent.iterdir()] == ["master.key"]


def test_a_key_file_that_others_can_read_is_refused_with_the_remedy(store: SecretStore, key_file: Path) -> None:
    store.set("PETS", "a-value", hosts=HOSTS)
    key_file.chmod(0o640)
    for act in (
        lambda: value_of(store, "PETS"),
        lambda: store.set("PETS", "a-value-2", hosts=HOSTS),
        store.rotate_key,
        store.list,
    ):
        with pytest.raises(BadMasterKey, match=r"mode 0640.*chmod 600 .*rotate-key"):
            act()
    key_file.chmod(0o600)
    assert value_of(store, "PETS") == "a-value"


@pytest.mark.parametrize("content", ["", "# only words\n", "not base64!\n", base64.b64encode(b"short").decode()])
def test_a_file_that_holds_no_key_is_refused_and_left_alone(key_file: Path, engine: sa.Engine, content: str) -> None:
    key_file.parent.mkdir()
    key_file.write_text(content)
    key_file.chmod(0o600)
    with pytest.raises(BadMasterKey, match=r"master\.key") as caught:
        SecretStore(engine, KeyFile(key_file)).set("PETS", "a-value", hosts=HOSTS)
    assert not content or content.strip() not in str(caught.value)
    assert key_file.read_text() == content
    assert rows(engine) == []


def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_kept(engine: sa.Engine) -> None:
    with pytest.raises(BadMasterKey, match=r"/proc/master\.key cannot be written"):
        SecretStore(engine, KeyFile(Path("/proc/master.key"))).set("PETS", "a-value", hosts=HOSTS)
    assert rows(engine) == []


def test_a_lost_key_file_stops_everything_that_needs_it_and_no_other_is_made(
    store: SecretStore, engine: sa.Engine, key_file: Path
) -> None:
    store.set("PETS", "first-value", hosts=HOSTS)
    before = rows(engine)
    saved = key_file.read_bytes()
    key_file.unlink()
    acts: list[Callable[[], Any]] = [
        lambda: value_of(store, "PETS"),
        lambda: store.set("PETS", "second-value", hosts=HOSTS),
        lambda: store.set("OTHER", "second-value", hosts=HOSTS),
        store.rotate_key,
    ]
    for act in acts:
        with pytest.raises(SecretLocked, match=r"holds none.*put that key back.*hone secrets remove PETS") as caught:
            act()
        assert before[0].key_id in str(caught.value)
    assert not key_file.exists()
    assert rows(engine) == before
    assert [secret.opens for secret in store.list()] == [False]
    assert "put that key back" in (store.problem() or "")
    key_file.write_bytes(saved)
    key_file.chmod(0o600)
    assert (value_of(store, "PETS"), store.problem()) == ("first-value", None)


def test_after_a_loss_what_was_sealed_is_removed_and_set_again(store: SecretStore, key_file: Path) -> None:
    store.set("PETS", "first-value", hosts=HOSTS)
    key_file.unlink()
    store.remove(["PETS"])
    assert store.set("PETS", "second-value", hosts=HOSTS).version == 2
    assert value_of(store, "PETS") == "second-value"


def test_another_servers_key_opens_nothing_and_writes_nothing(engine: sa.Engine) -> None:
    SecretStore(engine, GivenKeys(base64_key(1))).set("PETS", "a-value", hosts=HOSTS)
    other = SecretStore(engine, GivenKeys(base64_key(2)))
    before = rows(engine)
    for act in (lambda: value_of(other, "PETS"), lambda: other.set("DOGS", "a-value", hosts=HOSTS), other.rotate_key):
        with pytest.raises(SecretLocked, match="HONE_MASTER_KEY holds"):
            act()
    assert rows(engine) == before


def test_a_new_master_key_wraps_every_data_key_and_changes_no_value(
    store: SecretStore, engine: sa.Engine, key_file: Path
) -> None:
    for number in range(5):
        store.set(f"S{number}", f"value-{number}", hosts=HOSTS)
    store.set("S0", "value-0b", hosts=HOSTS)
    before = {(row.name, row.version): row for row in rows(engine)}
    done = store.rotate_key()
    assert done.rewrapped == 5
    for row in rows(engine):
        old = before[row.name, row.version]
        assert (row.sealed, row.created_at) == (old.sealed, old.created_at)
        if row.sealed is not None:
            assert row.key_id == done.key_id != old.key_id
            assert row.data_key != old.data_key
    lines = [line for line in key_file.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == 2
    key_file.write_text(lines[0])  # the operator deletes the old key
    assert [value_of(store, f"S{n}") for n in range(5)] == ["value-0b", "value-1", "value-2", "value-3", "value-4"]


def test_a_backup_from_before_the_change_opens_while_the_old_key_stays(store: SecretStore, engine: sa.Engine) -> None:
    store.set("PETS", "a-value", hosts=HOSTS)
    (backup,) = rows(engine)
    store.rotate_key()
    change(engine, "PETS", key_id=backup.key_id, data_key=backup.data_key)
    assert value_of(store, "PETS") == "a-value"
    assert store.rotate_key().rewrapped == 1


def test_a_change_that_is_cut_short_leaves_every_secret_readable(store: SecretStore, engine: sa.Engine) -> None:
    for number in range(4):
        store.set(f"S{number}", f"value-{number}", hosts=HOSTS)
    before = rows(engine)
    updates = itertools.count()

    def break_off(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE") and next(updates) == 2:
            raise KeyboardInterrupt

    event.listen(engine, "before_cursor_execute", break_off)
    with pytest.raises(KeyboardInterrupt):
        store.rotate_key()
    event.remove(engine, "before_cursor_execute", break_off)
    assert rows(engine) == before
    assert [value_of(store, f"S{n}") for n in range(4)] == [f"value-{n}" for n in range(4)]
    assert store.rotate_key().rewrapped == 4


def test_one_secret_that_does_not_open_stops_the_change_before_any_key_is_made(
    store: SecretStore, engine: sa.Engine, key_file: Path
) -> None:
    store.set("GOOD", "a-value", hosts=HOSTS)
    store.set("TORN", "a-value", hosts=HOSTS)
    change(engine, "TORN", sealed=b"torn" * 20)
    before, keys = rows(engine), key_file.read_bytes()
    with pytest.raises(SecretLocked, match="TORN"):
        store.rotate_key()
    assert (rows(engine), key_file.read_bytes()) == (before, keys)


def test_the_operators_own_key_is_changed_by_writing_the_new_one_first(engine: sa.Engine) -> None:
    old, new = base64_key(1), base64_key(2)
    first = SecretStore(engine, GivenKeys(old))
    first.set("PETS", "a-value", hosts=HOSTS)
    with pytest.raises(BadMasterKey, match=r"holds one key.*openssl rand -base64 32"):
        first.rotate_key()
    both = SecretStore(engine, GivenKeys(f"{new}, {old}"))
    assert value_of(both, "PETS") == "a-value"
    assert both.rotate_key().rewrapped == 1
    assert both.rotate_key().rewrapped == 0
    assert value_of(SecretStore(engine, GivenKeys(new)), "PETS") == "a-value"
    with pytest.raises(SecretLocked):
        value_of(first, "PETS")


def test_values_set_and_read_while_the_key_changes_again_and_again_are_never_lost(
    engine: sa.Engine, key_file: Path
) -> None:
    store = SecretStore(engine, KeyFile(key_file))
    store.set("S0", "value-0", hosts=HOSTS)
    store.set("S1", "value-1", hosts=HOSTS)
    problems: list[Exception] = []

    def repeat(act: Callable[[], Any]) -> None:
        try:
            for _ in range(8):
                act()
        except Exception as e:  # any failure is the finding
            problems.append(e)

    def read() -> None:
        found = value_of(SecretStore(engine, KeyFile(key_file)), "S0")
        assert found == "value-0"

    acts = [
        read,
        lambda: SecretStore(engine, KeyFile(key_file)).rotate_key(),
        lambda: SecretStore(engine, KeyFile(key_file)).rotate_key(),
        lambda: SecretStore(engine, KeyFile(key_file)).set("S1", "value-1", hosts=HOSTS),
    ]
    threads = [threading.Thread(target=repeat, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert (value_of(store, "S0"), value_of(store, "S1")) == ("value-0", "value-1")
    assert len({row.key_id for row in rows(engine) if row.sealed is not None}) == 1


_CHANGING = """
import sys
from pathlib import Path
from runtime.database import open_database
from tools.master_keys import KeyFile
from tools.secret_store import SecretStore
store = SecretStore(open_database(sys.argv[1]), KeyFile(Path(sys.argv[2])))
while True:
    store.rotate_key()
    print("changed", flush=True)
"""


def test_a_process_that_is_killed_while_it_changes_the_key_leaves_every_secret_readable(
    store: SecretStore, database_url: str, key_file: Path
) -> None:
    values = {f"S{number}": f"value-{number}" for number in range(30)}
    for name, value in values.items():
        store.set(name, value, hosts=HOSTS)
    chance = random.Random(11)
    for _ in range(6):
        command = [sys.executable, "-c", _CHANGING, database_url, str(key_file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "changed\n"
            time.sleep(chance.uniform(0, 0.1))
            process.kill()
        assert {name: value_of(store, name) for name in values} == values
    assert store.rotate_key().rewrapped == len(values)


def test_calls_ask_the_store_first_then_the_environment(store: SecretStore) -> None:
    source = StoredSecrets(store, EnvironmentSecrets({"HONE_SECRET_PETS": "of-environment"}))
    assert source.get("PETS").value == "of-environment"
    store.set("PETS", "of-store", hosts=HOSTS)
    assert source.get("PETS") == BoundSecret("of-store", BOUNDS)
    with pytest.raises(CallFault, match=r"HONE_SECRET_NONE and HONE_HOSTS_NONE .*hone secrets set NONE --host HOST"):
        source.get("NONE")


def test_a_secret_that_is_locked_fails_the_call_and_the_environment_does_not_stand_in(
    store: SecretStore, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.set("PETS", "of-store", hosts=HOSTS)
    key_file.unlink()
    source = StoredSecrets(store, EnvironmentSecrets({"HONE_SECRET_PETS": "of-environment"}))
    with pytest.raises(CallFault, match="PETS is stored, but this server cannot open it"):
        source.get("PETS")
    assert "put that key back" in caplog.text


def test_a_database_that_fails_fails_the_call_without_telling_of_it(store: SecretStore, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE secrets"))
    with pytest.raises(CallFault, match="the server's database failed; try again"):
        StoredSecrets(store, EnvironmentSecrets({})).get("PETS")
