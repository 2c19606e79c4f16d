"""Publishing adapters and refusing those that are not what was published."""

import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from runtime.errors import AdapterRejected, UnknownModel
from runtime.policy.manifest import (
    CONFIG,
    MANIFEST,
    WEIGHTS,
    Manifest,
    Probe,
    adapter_name,
    digest_model,
    verify_adapter,
    write_adapter,
)

BASE = "b" * 64
AT = datetime(2026, 5, 3, tzinfo=UTC)
PROBE = Probe(prompt_ids=(1, 2), completion_ids=(3, 4), logprobs=(-0.1, -2.0))


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """What training leaves behind, more than what is published."""
    source = tmp_path / "trained"
    source.mkdir()
    (source / WEIGHTS).write_bytes(bytes(range(256)) * 2)
    (source / CONFIG).write_text(json.dumps({"r": 8, "lora_alpha": 16}))
    (source / "README.md").write_text("left out")
    return source


def publish(source: Path, root: Path, **changes: Any) -> Path:
    facts: dict[str, Any] = {"version": 3, "base_model": "starter", "base_sha256": BASE, "created_at": AT}
    facts |= {"parent": "hone-v2-00000000", "batch_ids": ["b1"], "gate": {"passed": True}, "probes": [PROBE]}
    return root / write_adapter(root, source, **(facts | changes)).name


def test_a_published_adapter_is_accepted_and_says_what_it_is(trained: Path, tmp_path: Path) -> None:
    path = publish(trained, tmp_path / "adapters")
    manifest = verify_adapter(path, base_sha256=BASE)
    assert path.name == manifest.name == adapter_name(3, manifest.sha256) == f"hone-v3-{manifest.sha256[:8]}"
    assert {entry.name for entry in path.iterdir()} == {WEIGHTS, CONFIG, MANIFEST}
    assert manifest.files[WEIGHTS] == hashlib.sha256((trained / WEIGHTS).read_bytes()).hexdigest()
    assert (manifest.rank, manifest.parent, manifest.batch_ids) == (8, "hone-v2-00000000", ("b1",))
    assert (manifest.gate, manifest.probes, manifest.created_at) == ({"passed": True}, (PROBE,), AT)


def test_nothing_but_published_adapters_is_left_in_the_folder(trained: Path, tmp_path: Path) -> None:
    path = publish(trained, tmp_path / "adapters")
    assert list((tmp_path / "adapters").iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"version": 0}, "version"),
        ({"base_sha256": "short"}, "base_sha256"),
        ({"created_at": datetime(2026, 5, 3)}, "created_at"),
        ({"gate": {"score": object()}}, "cannot publish"),
    ],
)
def test_malformed_facts_publish_nothing(trained: Path, tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(AdapterRejected, match=problem):
        publish(trained, tmp_path / "adapters", **changes)
    assert list((tmp_path / "adapters").iterdir()) == []


@pytest.mark.parametrize("missing", [WEIGHTS, CONFIG])
def test_an_incomplete_training_folder_publishes_nothing(trained: Path, tmp_path: Path, missing: str) -> None:
    (trained / missing).unlink()
    with pytest.raises(AdapterRejected, match=missing):
        publish(trained, tmp_path / "adapters")
    assert list((tmp_path / "adapters").iterdir()) == []


@pytest.mark.parametrize("config", ["{}", "[]", "no json", '{"r": "many"}', '{"r": 0}'])
def test_a_configuration_without_a_rank_publishes_nothing(trained: Path, tmp_path: Path, config: str) -> None:
    (trained / CONFIG).write_text(config)
    with pytest.raises(AdapterRejected, match="rank"):
        publish(trained, tmp_path / "adapters")
    assert list((tmp_path / "adapters").iterdir()) == []


def test_the_same_adapter_is_not_published_twice(trained: Path, tmp_path: Path) -> None:
    path = publish(trained, tmp_path / "adapters")
    with pytest.raises(AdapterRejected, match="next version"):
        publish(trained, tmp_path / "adapters")
    verify_adapter(path)


def test_an_adapter_for_another_base_is_refused(trained: Path, tmp_path: Path) -> None:
    path = publish(trained, tmp_path / "adapters")
    with pytest.raises(AdapterRejected, match=r"made for base bbbbbbbb.*cccccccc"):
        verify_adapter(path, base_sha256="c" * 64)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of one published adapter, and its name under the key ''."""
    source = tmp_path_factory.mktemp("trained")
    (source / WEIGHTS).write_bytes(bytes(range(256)))
    (source / CONFIG).write_text('{"r": 8}')
    path = publish(source, tmp_path_factory.mktemp("adapters"))
    return {entry.name: entry.read_bytes() for entry in path.iterdir()} | {"": path.name.encode()}


def lay_out(root: Path, published: dict[str, bytes]) -> Path:
    path = root / published[""].decode()
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    for name, content in published.items():
        if name:
            (path / name).write_bytes(content)
    return path


@given(name=st.sampled_from([WEIGHTS, CONFIG, MANIFEST]), data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_changed_bit_anywhere_is_refused(
    tmp_path: Path, published: dict[str, bytes], name: str, data: st.DataObject
) -> None:
    content = bytearray(published[name])
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    path = lay_out(tmp_path, published)
    (path / name).write_bytes(content)
    with pytest.raises(AdapterRejected):
        verify_adapter(path)


@given(name=st.sampled_from([WEIGHTS, CONFIG, MANIFEST]), data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_or_extended_file_is_refused(
    tmp_path: Path, published: dict[str, bytes], name: str, data: st.DataObject
) -> None:
    content = published[name]
    shorter = content[: data.draw(st.integers(0, len(content) - 1))]
    longer = content + data.draw(st.binary(min_size=1, max_size=8))
    path = lay_out(tmp_path, published)
    (path / name).write_bytes(data.draw(st.sampled_from([shorter, longer])))
    with pytest.raises(AdapterRejected):
        verify_adapter(path)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, MANIFEST])
def test_a_missing_or_linked_file_is_refused(tmp_path: Path, published: dict[str, bytes], name: str) -> None:
    path = lay_out(tmp_path, published)
    (path / name).rename(tmp_path / "elsewhere")
    with pytest.raises(AdapterRejected, match=f"{name} is missing"):
        verify_adapter(path)
    (path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AdapterRejected, match=f"{name} is not a plain file"):
        verify_adapter(path)


@pytest.mark.parametrize("extra", ["adapter_model.bin", "notes.txt", ".hidden"])
def test_a_file_that_the_manifest_does_not_name_is_refused(
    tmp_path: Path, published: dict[str, bytes], extra: str
) -> None:
    path = lay_out(tmp_path, published)
    (path / extra).write_bytes(b"x")
    with pytest.raises(AdapterRejected, match="not named in the manifest"):
        verify_adapter(path)


def test_a_missing_directory_and_a_wrong_name_are_refused(tmp_path: Path, published: dict[str, bytes]) -> None:
    with pytest.raises(AdapterRejected, match="no such directory"):
        verify_adapter(tmp_path / "nothing")
    renamed = lay_out(tmp_path, published).rename(tmp_path / "hone-v9-00000000")
    with pytest.raises(AdapterRejected, match="should be named"):
        verify_adapter(renamed)


def forge(published: dict[str, bytes], **changes: Any) -> bytes:
    """A manifest that says other things and whose digest agrees, as one who knows the format would write it."""
    facts = json.loads(published[MANIFEST]) | changes
    body = {key: value for key, value in facts.items() if key not in ("name", "sha256")}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    facts |= {"sha256": digest, "name": adapter_name(facts["version"], digest)}
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def test_a_forged_manifest_would_pass_but_for_what_it_forges(tmp_path: Path, published: dict[str, bytes]) -> None:
    raw = forge(published, gate={"passed": False})
    path = lay_out(tmp_path, published)
    (path / MANIFEST).write_bytes(raw)
    verify_adapter(path.rename(tmp_path / json.loads(raw)["name"]))


UNSAFE_NAMES = st.one_of(
    st.sampled_from(
        ["../w.safetensors", "a/b", "/etc/passwd", "..", ".", "", "a\\b", ".hidden", MANIFEST, "a..b", "a\0b", "a\n"]
    ),
    st.sampled_from([".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".BIN"]).map(lambda suffix: f"model{suffix}"),
    st.text().map(lambda text: f"../{text}"),
)


@given(name=UNSAFE_NAMES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_manifest_that_names_an_unsafe_file_is_refused(
    tmp_path: Path, published: dict[str, bytes], name: str
) -> None:
    files = json.loads(published[MANIFEST])["files"]
    path = lay_out(tmp_path, published)
    (path / MANIFEST).write_bytes(forge(published, files=files | {name: "0" * 64}))
    with pytest.raises(AdapterRejected, match=r"plain file name|may run code"):
        verify_adapter(path)


@given(raw=st.binary(max_size=200) | st.text().map(str.encode) | st.just(b"[" * 100_000))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_manifest_of_rubbish_is_refused(tmp_path: Path, published: dict[str, bytes], raw: bytes) -> None:
    path = lay_out(tmp_path, published)
    (path / MANIFEST).write_bytes(raw)
    with pytest.raises(AdapterRejected, match=r"manifest\.json"):
        verify_adapter(path)


def test_a_figure_that_is_not_a_number_is_published_as_null(trained: Path, tmp_path: Path) -> None:
    path = publish(trained, tmp_path / "adapters", gate={"score": float("nan")})
    assert verify_adapter(path).gate == {"score": None}


LOGPROBS = st.lists(st.floats(max_value=0, allow_nan=False, allow_infinity=False), min_size=1, max_size=4)


@given(
    gate=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.booleans()),
    probes=st.lists(
        LOGPROBS.map(lambda lp: Probe(prompt_ids=(1,), completion_ids=tuple(range(len(lp))), logprobs=tuple(lp)))
    ),
    batch_ids=st.lists(st.text()),
    version=st.integers(1, 10**6),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_published_is_accepted(
    trained: Path, tmp_path: Path, gate: dict[str, Any], probes: list[Probe], batch_ids: list[str], version: int
) -> None:
    root = tmp_path / "adapters"
    shutil.rmtree(root, ignore_errors=True)
    path = publish(trained, root, gate=gate, probes=probes, batch_ids=batch_ids, version=version)
    manifest = verify_adapter(path)
    assert (manifest.gate, list(manifest.probes), list(manifest.batch_ids)) == (gate, probes, batch_ids)
    assert Manifest.model_validate(manifest.model_dump(mode="json")) == manifest


@pytest.mark.parametrize("logprobs", [(), (-0.1,), (-0.1, float("nan")), (-0.1, float("-inf"))])
def test_a_probe_needs_one_finite_logprob_per_token(logprobs: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        Probe(prompt_ids=(1,), completion_ids=(2, 3), logprobs=logprobs)


def test_a_base_is_known_by_its_weights_configuration_and_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="safetensors"):
        digest_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    before = digest_model(tmp_path)
    (tmp_path / "README.md").write_text("no part of it")
    assert digest_model(tmp_path) == before
    (tmp_path / "tokenizer.json").write_text("{}")
    assert digest_model(tmp_path) != before
