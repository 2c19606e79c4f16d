"""A published adapter on disk: written so that it is there in full or not at all, and checked before it is served.

The directory `hone-v12-0a1b2c3d/` holds `adapter_model.safetensors`, `adapter_config.json` and `manifest.json`, nothing
else. The manifest names each file's digest and carries its own, over all that it says, and its bytes are canonical: one
changed bit anywhere in the directory shows. Publishing writes to a temporary name, syncs, and renames; the manifest
comes last. This module knows no model: whether the weights do what was trained is for `runtime.policy.attest` to find out.
"""

import hashlib
import json
import math
import os
import re
import shutil
import stat
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from runtime.errors import AdapterRejected, UnknownModel

MANIFEST = "manifest.json"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
MAX_MANIFEST_BYTES = 16_000_000

_ADAPTER_NAME = re.compile(r"hone-v([0-9]+)-[0-9a-f]{8}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_EXECUTABLE_FORMATS = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
"""Formats that may run code when they are loaded."""

_SHA256 = r"^[0-9a-f]{64}$"
_BASE_FILES = ("*.safetensors", "config.json", "tokenizer.json")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Probe(_Frozen):
    """One prompt and completion with the trainer's logprobs: what is served must give the same."""

    prompt_ids: tuple[int, ...] = Field(min_length=1)
    completion_ids: tuple[int, ...] = Field(min_length=1)
    logprobs: tuple[float, ...]
    """Natural log at temperature 1, one per completion token."""

    @model_validator(mode="after")
    def _lengths_agree(self) -> "Probe":
        if len(self.logprobs) != len(self.completion_ids):
            raise ValueError(f"{len(self.logprobs)} logprobs for {len(self.completion_ids)} completion tokens")
        if not all(math.isfinite(value) for value in self.logprobs):
            raise ValueError("a logprob is not finite")
        return self


class Manifest(_Frozen):
    """What an adapter is, where it comes from, and the digests that prove it is unchanged."""

    format: Literal[1] = 1
    name: str
    """Also the directory's name; see `adapter_name`."""
    sha256: str = Field(pattern=_SHA256)
    """Digest of all the other fields but the name: the adapter's identity."""
    version: int = Field(ge=1)
    base_model: str
    base_sha256: str = Field(pattern=_SHA256)
    """`digest_model` of the base that it was trained on."""
    parent: str | None = None
    """Name of the adapter that training began with; None: the base."""
    created_at: AwareDatetime
    files: dict[str, str]
    """File name → sha256, the manifest itself not among them."""
    rank: int = Field(ge=1)
    """LoRA rank, as in the adapter's own configuration."""
    batch_ids: tuple[str, ...] = ()
    gate: dict[str, Any] = {}
    """The gate's report; JSON has no NaN, so one is kept as null."""
    probes: tuple[Probe, ...] = ()

    @field_validator("files")
    @classmethod
    def _files_are_safe(cls, files: dict[str, str]) -> dict[str, str]:
        for name, digest in files.items():
            _check_file_name(name)
            if not re.fullmatch(r"[0-9a-f]{64}", digest):
                raise ValueError(f"{name}: {digest!r} is no sha256")
        for name in (WEIGHTS, CONFIG):
            if name not in files:
                raise ValueError(f"{name} is missing from files")
        return files

    @model_validator(mode="after")
    def _digest_and_name_agree(self) -> "Manifest":
        expected = _digest_facts(self.model_dump(mode="json"))
        if self.sha256 != expected:
            raise ValueError(f"sha256 says {self.sha256[:8]}… but the manifest digests to {expected[:8]}…")
        if self.name != adapter_name(self.version, self.sha256):
            raise ValueError(f"name says {self.name!r}, not {adapter_name(self.version, self.sha256)!r}")
        return self

    def to_bytes(self) -> bytes:
        """The only bytes under which this manifest is accepted."""
        return _canonical(self.model_dump(mode="json")) + b"\n"


def adapter_name(version: int, sha256: str) -> str:
    """A name that no other adapter ever has: servers key their prefix caches by it."""
    return f"hone-v{version}-{sha256[:8]}"


def adapter_version(name: str) -> int | None:
    """The version in a name of `adapter_name`'s form; None: it has another form."""
    found = _ADAPTER_NAME.fullmatch(name)
    return int(found[1]) if found else None


def digest_model(folder: Path) -> str:
    """Digest of a base model: its weights, configuration and tokenizer.

    Raises:
        UnknownModel: the folder holds no safetensors weights.
    """
    files = sorted({path for pattern in _BASE_FILES for path in folder.glob(pattern) if path.is_file()})
    if not any(path.suffix == ".safetensors" for path in files):
        raise UnknownModel(f"no *.safetensors in {str(folder)!r}: give the folder of a Hugging Face model")
    return hashlib.sha256(_canonical({path.name: _digest_file(path) for path in files})).hexdigest()


def write_adapter(
    root: Path,
    source: Path,
    *,
    version: int,
    base_model: str,
    base_sha256: str,
    created_at: datetime,
    parent: str | None = None,
    batch_ids: Sequence[str] = (),
    gate: dict[str, Any] | None = None,
    probes: Sequence[Probe] = (),
) -> Manifest:
    """Publishes a trained adapter as `root / manifest.name`: a reader sees nothing of it, or all of it.

    Args:
        root: where published adapters live; made if it is not there.
        source: what PEFT's `save_pretrained` wrote. Only the weights and the configuration are taken.

    Raises:
        AdapterRejected: `source` lacks a file, or a fact is malformed. Nothing is left behind.
    """
    root.mkdir(parents=True, exist_ok=True)
    staging = root / f".tmp-{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        files = {name: _copy_synced(source / name, staging / name) for name in (WEIGHTS, CONFIG)}
        facts = {
            "format": 1,
            "version": version,
            "base_model": base_model,
            "base_sha256": base_sha256,
            "parent": parent,
            "created_at": created_at,
            "files": files,
            "rank": _read_rank(staging / CONFIG),
            "batch_ids": list(batch_ids),
            "gate": gate or {},
            "probes": list(probes),
        }
        manifest = _seal(facts)
        _write_synced(staging / MANIFEST, manifest.to_bytes())
        _sync_directory(staging)
        if (root / manifest.name).exists():
            raise AdapterRejected(f"{manifest.name!r} is already published in {str(root)!r}: give the next version")
        staging.rename(root / manifest.name)
        _sync_directory(root)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return manifest


def verify_adapter(path: Path, *, base_sha256: str | None = None) -> Manifest:
    """Checks a published adapter, bit for bit.

    Args:
        path: its directory.
        base_sha256: when given, the base that it must have been made for.

    Raises:
        AdapterRejected: names what is wrong.
    """
    manifest = _read_manifest(path)
    if path.name != manifest.name:
        raise _rejected(path, f"the directory should be named {manifest.name!r}")
    if base_sha256 is not None and manifest.base_sha256 != base_sha256:
        raise _rejected(
            path, f"made for base {manifest.base_sha256[:8]}… ({manifest.base_model}), this one is {base_sha256[:8]}…"
        )
    present = {entry.name for entry in path.iterdir()}
    for name in sorted(present - set(manifest.files) - {MANIFEST}):
        raise _rejected(path, f"{name} is not named in the manifest")
    for name, expected in sorted(manifest.files.items()):
        _require_plain_file(path, name)
        actual = _digest_file(path / name)
        if actual != expected:
            raise _rejected(path, f"{name} has sha256 {actual[:8]}…, the manifest says {expected[:8]}…")
    return manifest


def _read_manifest(path: Path) -> Manifest:
    if not path.is_dir():
        raise _rejected(path, "no such directory")
    size = _require_plain_file(path, MANIFEST)
    if size > MAX_MANIFEST_BYTES:
        raise _rejected(path, f"{MANIFEST} has {size} bytes, over {MAX_MANIFEST_BYTES}")
    raw = (path / MANIFEST).read_bytes()
    try:
        manifest = Manifest.model_validate_json(raw)
    except (ValidationError, RecursionError) as e:
        raise _rejected(path, f"{MANIFEST}: {_first_problem(e)}") from e
    if manifest.to_bytes() != raw:
        raise _rejected(path, f"{MANIFEST} was altered after it was written")
    return manifest


def _seal(facts: dict[str, Any]) -> Manifest:
    """A manifest with its digest and name. The facts pass through the model first, so the digest is of normal forms."""
    try:
        draft = Manifest.model_construct(**facts).model_dump(mode="json", exclude={"name", "sha256"}, warnings=False)
        digest = _digest_facts(draft)
        return Manifest.model_validate(draft | {"sha256": digest, "name": adapter_name(draft["version"], digest)})
    except (ValidationError, ValueError, TypeError) as e:
        raise AdapterRejected(f"cannot publish the adapter: {_first_problem(e)}") from e


def _digest_facts(dumped: dict[str, Any]) -> str:
    facts = {key: value for key, value in dumped.items() if key not in ("name", "sha256")}
    return hashlib.sha256(_canonical(facts)).hexdigest()


def _canonical(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _check_file_name(name: str) -> None:
    if not _FILE_NAME.fullmatch(name) or ".." in name or name == MANIFEST:
        raise ValueError(f"{name!r} is no plain file name")
    if name.lower().endswith(_EXECUTABLE_FORMATS):
        raise ValueError(f"{name!r} may run code when loaded: only safetensors are served")


def _require_plain_file(path: Path, name: str) -> int:
    """Size of a regular file; links are refused, since they can point anywhere later."""
    try:
        found = (path / name).lstat()
    except OSError as e:
        raise _rejected(path, f"{name} is missing") from e
    if not stat.S_ISREG(found.st_mode):
        raise _rejected(path, f"{name} is not a plain file")
    return found.st_size


def _rejected(path: Path, problem: str) -> AdapterRejected:
    return AdapterRejected(f"adapter {str(path)!r}: {problem}; it is not served: publish it again")


def _first_problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}" if where else first["msg"]
    return str(error)


def _read_rank(config: Path) -> int:
    try:
        rank = json.loads(config.read_bytes())["r"]
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise AdapterRejected(f"{config.name} gives no LoRA rank `r`: publish what PEFT saved") from e
    return rank


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy_synced(source: Path, target: Path) -> str:
    try:
        with source.open("rb") as reader, target.open("wb") as writer:
            shutil.copyfileobj(reader, writer)
            writer.flush()
            os.fsync(writer.fileno())
    except FileNotFoundError as e:
        raise AdapterRejected(f"{str(source)!r} is missing: publish what PEFT saved") from e
    return _digest_file(target)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as writer:
        writer.write(data)
        writer.flush()
        os.fsync(writer.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
