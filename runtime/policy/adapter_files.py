"""A LoRA adapter on disk, read and judged before any server or model is told of it.

Whatever can be known from the files alone is decided here, without torch: that both files are there and whole, that it
is plain LoRA, that tensors come in pairs of the stated rank and hold finite numbers, and that a manifest, where there
is one, agrees. Whether the tensors fit a base is `AdapterFiles.check_fits`.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import AdapterRejected
from runtime.policy.manifest import CONFIG, MANIFEST, WEIGHTS, verify_adapter

_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_MAX_HEADER = 100_000_000
_EXPONENT: Mapping[str, tuple[str, int]] = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
"""Number format → its integer view and its exponent bits, which are all set in an infinity or a NaN alone."""


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """What the files of one sound adapter say."""

    path: Path
    sha256: str
    """Digest of weights and configuration."""
    rank: int
    pairs: Mapping[str, tuple[int, int]]
    """Name of the adapted linear layer → its (out, in) features."""

    def check_fits(self, layers: Mapping[str, tuple[int, int]], model: str) -> None:
        """Raises: AdapterRejected: `layers`, the base's linear layers, lack one or have another shape."""
        for name, shape in self.pairs.items():
            if name not in layers:
                raise _rejected(
                    self.path, f"it adapts {name}, which {model!r} does not have: it was made for another base"
                )
            if layers[name] != shape:
                raise _rejected(
                    self.path,
                    f"it adapts {name} as {shape[0]}x{shape[1]}, in {model!r} that is"
                    f" {layers[name][0]}x{layers[name][1]}: it was made for another base",
                )


class NameRegister:
    """Which names stand for which weights: a name that served once never stands for others.

    Policies cache what they computed under an adapter's name; other weights under that name would be answered from the
    old ones' cache. The same weights may come back under their name.
    """

    def __init__(self) -> None:
        self._sha256: dict[str, str] = {}

    def check(self, name: str, files: AdapterFiles) -> None:
        """Raises: AdapterRejected: the name stands for other weights."""
        if self._sha256.get(name, files.sha256) != files.sha256:
            raise _rejected(files.path, f"the name {name!r} has stood for other weights, and a name is never reused")

    def add(self, name: str, files: AdapterFiles) -> None:
        self._sha256[name] = files.sha256


def read_adapter(path: Path, *, base_sha256: str | None = None) -> AdapterFiles:
    """Reads and checks an adapter directory.

    Args:
        path: the directory; `manifest.json` in it is checked when it is there.
        base_sha256: digest of the base that the manifest must name; None leaves that unchecked.

    Raises:
        AdapterRejected: names the file and what is wrong.
    """
    if (path / MANIFEST).exists():
        verify_adapter(path, base_sha256=base_sha256)
    config, weights = _read_bytes(path, CONFIG), _read_bytes(path, WEIGHTS)
    rank = _read_rank(path, config)
    pairs = _pair(path, _read_shapes(path, weights), rank)
    return AdapterFiles(path=path, sha256=hashlib.sha256(config + weights).hexdigest(), rank=rank, pairs=pairs)


def _read_bytes(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as e:
        raise _rejected(path, f"{name} is missing or cannot be read ({e.strerror})") from e


def _read_rank(path: Path, data: bytes) -> int:
    """The rank, from the configuration of an adapter that is plain LoRA."""
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise _rejected(path, f"{CONFIG} is no JSON") from e
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise _rejected(path, f"{CONFIG} describes no LoRA")
    unsupported = [key for key in ("use_dora", "modules_to_save", "rank_pattern", "lora_bias") if config.get(key)]
    if config.get("bias", "none") != "none":
        unsupported.append("bias")
    if unsupported:
        raise _rejected(path, f"{CONFIG} uses {', '.join(unsupported)}: only plain LoRA is served")
    rank = config.get("r")
    if not isinstance(rank, int) or rank < 1:
        raise _rejected(path, f"{CONFIG} gives the rank {rank!r}")
    return rank


def _read_shapes(path: Path, data: bytes) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of the weights file, all of whose numbers are finite."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        if length > min(len(data) - 8, _MAX_HEADER):
            raise ValueError("cut short in its header")
        header = json.loads(data[8 : 8 + length])
        header.pop("__metadata__", None)
        body = memoryview(data)[8 + length :]
        if max((entry["data_offsets"][1] for entry in header.values()), default=0) != len(body):
            raise ValueError("longer or shorter than its header says")
        return {name: _read_shape(name, entry, body) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error, RecursionError) as e:
        raise _rejected(path, f"{WEIGHTS} is corrupt ({e})") from e


def _read_shape(name: str, entry: Mapping[str, Any], body: memoryview) -> tuple[int, ...]:
    if entry["dtype"] not in _EXPONENT:
        raise ValueError(f"{name} holds {entry['dtype']}")
    view, exponent = _EXPONENT[entry["dtype"]]
    start, end = entry["data_offsets"]
    numbers = np.frombuffer(body[start:end], dtype=view)
    shape = tuple(int(size) for size in entry["shape"])
    if numbers.size != int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"{name} has {numbers.size} numbers for shape {shape}")
    if np.any((numbers & exponent) == exponent):
        raise ValueError(f"{name} holds numbers that are not finite")
    return shape


def _pair(path: Path, shapes: Mapping[str, tuple[int, ...]], rank: int) -> dict[str, tuple[int, int]]:
    """(out, in) of each adapted layer, from its two low-rank factors A (rank, in) and B (out, rank)."""
    pairs: dict[str, tuple[int, int]] = {}
    for name in shapes:
        if not name.startswith(_PREFIX) or not name.endswith((_A, _B)):
            raise _rejected(path, f"{WEIGHTS} holds {name}, which is no LoRA factor of a linear layer")
        layer = name.removeprefix(_PREFIX).removesuffix(_A).removesuffix(_B)
        a, b = shapes.get(f"{_PREFIX}{layer}{_A}"), shapes.get(f"{_PREFIX}{layer}{_B}")
        if a is None or b is None or len(a) != 2 or len(b) != 2 or a[0] != rank or b[1] != rank:
            raise _rejected(path, f"{WEIGHTS} has for {layer} the factors A {a} and B {b}, not a pair of rank {rank}")
        pairs[layer] = (b[0], a[1])
    if not pairs:
        raise _rejected(path, f"{WEIGHTS} holds no tensor")
    return pairs


def _rejected(path: Path, problem: str) -> AdapterRejected:
    return AdapterRejected(f"adapter {str(path)!r}: {problem}; it is not served: publish it again")
