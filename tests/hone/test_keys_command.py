"""`hone keys`, `hone audit` and where `hone serve` binds: as an operator at the machine uses them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner

from hone import keys_command
from hone.__main__ import app as whole
from runtime.access.keys import Keys
from runtime.access.roles import Role
from runtime.database import open_database
from runtime.errors import KeyNotFound

HONE = (sys.executable, "-m", "hone")


def run(home: Path, *arguments: str, app: Typer = keys_command.app) -> str:
    result = CliRunner().invoke(app, [*arguments, "--home", str(home)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def as_json(home: Path, *arguments: str, app: Typer = keys_command.app) -> Any:
    return json.loads(run(home, *arguments, "--json", "-", app=app))


def test_a_key_is_told_once_and_counts_until_it_is_revoked(tmp_path: Path) -> None:
    told = run(tmp_path, "create", "ci", "--role", "developer", "--scope", "tools", "--days", "30")
    sent = told.splitlines()[0]
    prefix = sent.split("_")[1]
    verifier = Keys(engine := open_database(f"sqlite:///{tmp_path / 'hone.db'}"))
    found = verifier.verify(sent)
    assert found is not None
    assert (found.role, found.scopes, found.tenant) == (Role.DEVELOPER, ("tools",), "default")
    (listed,) = as_json(tmp_path, "list")["keys"]
    assert (listed["prefix"], listed["name"], listed["state"]) == (prefix, "ci", "active")
    assert sent not in run(tmp_path, "list") + run(tmp_path, "show", prefix)
    again = as_json(tmp_path, "rotate", prefix, "--overlap", "0")["key"]
    fresh = Keys(engine)
    assert (fresh.verify(sent), fresh.verify(again) is not None) == (None, True)
    run(tmp_path, "revoke", prefix)
    assert Keys(engine).verify(again) is None
    engine.dispose()


def test_each_tenant_has_its_keys_and_its_audit_log(tmp_path: Path) -> None:
    made = as_json(tmp_path, "create", "theirs", "--tenant", "acme")
    assert as_json(tmp_path, "list")["keys"] == []
    assert [key["prefix"] for key in as_json(tmp_path, "list", "--tenant", "acme")["keys"]] == [made["prefix"]]
    with pytest.raises(KeyNotFound, match="hone keys list"):
        run(tmp_path, "revoke", made["prefix"])
    assert as_json(tmp_path, "audit", app=whole)["entries"] == []
    (entry,) = as_json(tmp_path, "audit", "--tenant", "acme", "--action", "key", app=whole)["entries"]
    assert (entry["action"], entry["thing"], entry["via"]) == ("key.created", made["prefix"], "command line")
    assert made["key"] not in json.dumps(entry)


def test_the_server_binds_elsewhere_only_once_there_is_a_key(tmp_path: Path) -> None:
    serve = [
        *HONE,
        "serve",
        "--host",
        "0.0.0.0",
        "--port",
        "0",
        "--home",
        str(tmp_path),
        "--model",
        str(tmp_path / "none"),
    ]
    environment = {**os.environ, "HONE_HOME": str(tmp_path)}

    def complaint() -> str:
        done = subprocess.run(serve, capture_output=True, text=True, env=environment, timeout=120, check=False)
        assert done.returncode == 1
        return " ".join(done.stderr.split())

    assert "no keys exist: anyone could use it; make a key first (hone keys create NAME --role operator)" in complaint()
    run(tmp_path, "create", "me", "--role", "operator")
    assert "model=" in complaint()  # the next thing that it looks at
