"""`hone secrets`: set, list, remove and rotate-key, as a person and as a program use them."""

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hone.secrets_command import app
from tools.errors import BadSecret, SecretLocked, UnknownSecret

HOST = ("--host", "api.example.com")


def run(home: Path, *arguments: str, value: str | None = None) -> str:
    result = CliRunner().invoke(app, [*arguments, "--home", str(home)], input=value, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def listed(home: Path) -> list[dict[str, Any]]:
    return json.loads(run(home, "list", "--json", "-"))["secrets"]


def test_a_value_comes_from_standard_input_and_is_never_shown(tmp_path: Path) -> None:
    told = run(tmp_path, "set", "PETS", *HOST, value="canary-one\n")
    assert told == "PETS is set (version 1), for api.example.com"
    assert json.loads(run(tmp_path, "set", "PETS", *HOST, "--json", "-", value="canary-two"))["version"] == 2
    (secret,) = listed(tmp_path)
    assert (secret["name"], secret["version"], secret["opens"]) == ("PETS", 2, True)
    table = run(tmp_path, "list")
    assert "PETS" in table
    assert "canary" not in table + json.dumps(secret)
    assert run(tmp_path, "remove", "PETS") == "removed: PETS"
    assert listed(tmp_path) == []


def test_a_value_is_no_argument(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["set", "PETS", "canary-one", "--home", str(tmp_path)])
    assert result.exit_code == 2
    assert not (tmp_path / "hone.db").exists()


def test_what_cannot_be_kept_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(BadSecret, match="no name of a secret"):
        run(tmp_path, "set", "sk-canary", value="a-value")
    assert not (tmp_path / "hone.db").exists()
    with pytest.raises(BadSecret, match="has 0 characters"):
        run(tmp_path, "set", "PETS", *HOST, value="")
    with pytest.raises(UnknownSecret, match="there are: none"):
        run(tmp_path, "remove", "PETS")
    assert not (tmp_path / "master.key").exists()


def test_the_master_key_is_changed_and_the_older_one_can_go(tmp_path: Path) -> None:
    run(tmp_path, "set", "PETS", *HOST, value="a-value")
    told = run(tmp_path, "rotate-key")
    assert "1 were wrapped anew" in " ".join(told.split())
    assert "master.key" in "".join(told.split())
    keys = [line for line in (tmp_path / "master.key").read_text().splitlines() if not line.startswith("#")]
    (tmp_path / "master.key").write_text(keys[0])
    assert [secret["opens"] for secret in listed(tmp_path)] == [True]
    assert json.loads(run(tmp_path, "rotate-key", "--json", "-"))["rewrapped"] == 1


def test_a_lost_key_is_told_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, "set", "PETS", *HOST, value="a-value")
    monkeypatch.setenv("HONE_MASTER_KEY", "A" * 43)
    told = run(tmp_path, "list")
    assert "hone secrets remove PETS" in told
    with pytest.raises(SecretLocked, match=r"HONE_MASTER_KEY holds .*put that key back"):
        run(tmp_path, "set", "OTHER", *HOST, value="a-value")
    run(tmp_path, "remove", "PETS")
    run(tmp_path, "set", "PETS", *HOST, value="b-value")
    assert [secret["version"] for secret in listed(tmp_path)] == [2]


def test_at_a_terminal_the_value_is_asked_for_twice_and_not_echoed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hone", "secrets", "set", "PETS", *HOST, "--home", str(tmp_path)]
    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    told = b""
    deadline = time.monotonic() + 60
    answers = {b"Value of PETS: ": b"canary-one\n", b"Repeat for confirmation: ": b"canary-one\n"}
    while time.monotonic() < deadline:
        try:
            told += os.read(master, 1024)
        except OSError:  # the other end is closed
            break
        for question in [q for q in answers if told.endswith(q)]:
            os.write(master, answers.pop(question))
    os.close(master)
    assert process.wait(10) == 0, told
    assert b"PETS is set (version 1)" in told
    assert b"canary" not in told


def test_a_failure_is_one_line_that_holds_neither_value_nor_trace(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hone", "secrets", "set", "PETS", *HOST, "--home", str(tmp_path)],
        input="canary-one\ncanary-two",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "give one line of printable ASCII" in " ".join(done.stderr.split())
    assert "canary" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_master_key_that_is_none_is_told_without_repeating_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hone", "secrets", "list", "--home", str(tmp_path)],
        env={**os.environ, "HONE_MASTER_KEY": "canary-passphrase"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "HONE_MASTER_KEY: entry 1 is no key: a key is 32 random bytes in base64" in " ".join(done.stderr.split())
    assert "canary" not in done.stdout + done.stderr


def test_a_secret_is_bound_to_hosts_and_bound_anew(tmp_path: Path) -> None:
    with pytest.raises(BadSecret, match=r"name the hosts that PETS may be sent to: hone secrets set PETS --host"):
        run(tmp_path, "set", "PETS", value="canary-one")
    run(tmp_path, "set", "PETS", *HOST, value="canary-one")
    assert "api.example.com" in run(tmp_path, "list")
    assert "version 2), for api.example.com" in run(tmp_path, "set", "PETS", value="canary-two")
    told = run(tmp_path, "bind", "PETS", "--host", "*.example.org", "--tool", "find_*")
    assert told == "PETS is for *.example.org (tools: find_*)"
    (secret,) = listed(tmp_path)
    assert (secret["hosts"], secret["tools"], secret["version"]) == (["*.example.org"], ["find_*"], 2)
    with pytest.raises(BadSecret, match="'https://x' is no host"):
        run(tmp_path, "bind", "PETS", "--host", "https://x")
    with pytest.raises(UnknownSecret, match=r"did you mean PETS\?"):
        run(tmp_path, "bind", "PETZ", *HOST)
