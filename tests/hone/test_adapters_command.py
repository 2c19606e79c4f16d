"""`hone adapters` and `hone learn` as operators run them, and the demo's server beside them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hone.__main__ import app
from hone.demo.stage import hone_server
from hone.home import open_home
from runtime.errors import BadSettings
from runtime.policy.deployment import AdapterRecord, Channel
from runtime.policy.manifest import CONFIG, WEIGHTS, write_adapter
from runtime.settings import STARTER_MODEL
from tests.runtime.thread_builder import START


def published(folder: Path, version: int) -> AdapterRecord:
    source = folder / "trained"
    source.mkdir(exist_ok=True)
    (source / WEIGHTS).write_bytes(b"weights")
    (source / CONFIG).write_text('{"r": 4}')
    manifest = write_adapter(folder, source, version=version, base_model="m", base_sha256="0" * 64, created_at=START)
    return AdapterRecord.of(manifest, folder / manifest.name)


def test_the_list_begins_with_the_newest_and_says_why_each_is_what_it_is(tmp_path: Path) -> None:
    with open_home(home=tmp_path) as here:
        first, second = published(tmp_path, 1), published(tmp_path, 2)
        for record in (first, second):
            here.deployment.publish(record)
        here.deployment.point(Channel.INCUMBENT, first.name, reason="proven better")
        here.deployment.reject(second.name, "worse on clarify")
    result = CliRunner().invoke(
        app, ["adapters", "list", "--home", str(tmp_path), "--json", "-"], catch_exceptions=False
    )
    told = [(a["name"], a["state"], a["reason"]) for a in json.loads(result.stdout)["adapters"]]
    assert told == [(second.name, "rejected", "worse on clarify"), (first.name, "incumbent", "proven better")]


def test_learning_on_a_model_that_is_no_folder_is_refused_before_it_begins(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["learn", "--once", "--home", str(tmp_path), "--model", "Qwen/Qwen2.5-0.5B"])
    assert isinstance(result.exception, BadSettings)
    assert "Qwen/Qwen2.5-0.5B" in str(result.exception)
    assert "HONE_MODEL" in str(result.exception)


def test_the_demo_keeps_to_a_database_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_DATABASE_URL", f"sqlite:///{tmp_path / 'operators.db'}")
    (tmp_path / "demo").mkdir()
    with hone_server(tmp_path / "demo", str(STARTER_MODEL)):
        pass
    assert (tmp_path / "demo" / "hone.db").exists()
    assert not (tmp_path / "operators.db").exists()
