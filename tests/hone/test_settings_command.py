"""`hone settings` as operators run it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hone.__main__ import app


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settings() -> dict[str, dict[str, str | None]]:
    result = CliRunner().invoke(app, ["settings", "--json", "-"], catch_exceptions=False)
    return {row["variable"]: row for row in json.loads(result.stdout)["settings"]}


def test_every_setting_says_what_it_means() -> None:
    told = settings()
    assert len(told) > 80
    assert not [name for name, row in told.items() if not row["meaning"]]
    assert {"HONE_HOME", "HONE_SHOWN_TOOLS", "HONE_LEARN_TRAINING__MAX_STEPS", "HONE_LEARN_INTERVAL_S"} <= set(told)


def test_what_counts_is_shown_beside_the_default_and_can_be_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hone.toml").write_text(
        'shown_tools = 9\nport = 9100\nallowed_networks = ["127.0.0.1:9000", "10.0.0.0/8"]\n'
    )
    monkeypatch.setenv("HONE_PORT", "9200")
    monkeypatch.setenv("HONE_OIDC_ROLES", "admins=operator")
    monkeypatch.setenv("HONE_LEARN_TRAINING__MAX_STEPS", "7")
    told = settings()
    assert (told["HONE_SHOWN_TOOLS"]["value"], told["HONE_SHOWN_TOOLS"]["default"]) == ("9", "6")
    assert told["HONE_PORT"]["value"] == "9200"
    assert told["HONE_ALLOWED_NETWORKS"]["value"] == "127.0.0.1:9000,10.0.0.0/8"
    assert told["HONE_LEARN_TRAINING__MAX_STEPS"]["value"] == "7"
    for name, row in told.items():
        if row["value"] not in (None, "") and name.startswith("HONE_") and not name.startswith("HONE_LEARN_"):
            monkeypatch.setenv(name, row["value"] or "")
    assert settings() == told


def test_passwords_and_keys_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_DATABASE_URL", "postgresql://me:hunter2@db/hone")
    monkeypatch.setenv("HONE_MASTER_KEY", "A" * 43 + "=")
    told = settings()
    assert told["HONE_DATABASE_URL"]["value"] == "postgresql://***@db/hone"
    assert "AAAA" not in str(told["HONE_MASTER_KEY"])


def test_a_setting_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_PORT", "many")
    result = CliRunner().invoke(app, ["settings"])
    assert "HONE_PORT" in str(result.exception)
