"""The files of a base model, read without torch: where they are and which linear layers they hold."""

import json
import struct
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from runtime.errors import UnknownModel


def local_folder(model: str) -> Path | None:
    """Folder of a model given by path, or by a hub name that was downloaded; None when there is none here."""
    if Path(model).is_dir():
        return Path(model)
    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def linear_layers(folder: Path) -> dict[str, tuple[int, int]]:
    """Name of each layer with a matrix → its (out, in) features.

    Raises:
        UnknownModel: a weights file cannot be read.
    """
    layers: dict[str, tuple[int, int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, entry in _header(path).items():
            if name.endswith(".weight") and len(entry["shape"]) == 2:
                layers[name.removesuffix(".weight")] = (entry["shape"][0], entry["shape"][1])
    return layers


def _header(path: Path) -> dict:
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, path.stat().st_size)))
        header.pop("__metadata__", None)
    except (OSError, ValueError, AttributeError, struct.error) as e:
        raise UnknownModel(f"the weights {str(path)!r} cannot be read: fetch the model again") from e
    return header
