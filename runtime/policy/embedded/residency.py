"""Several LoRA adapters resident in one base model, one of them (or none) active at a time.

PEFT does the work. It keeps its own names for the adapters, so that ours may be any text. Of models that can be fused, the
weights of each adapter are kept merged as well, to decode with. Not thread-safe: the worker alone calls it.
"""

import warnings
from itertools import count
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from runtime.errors import AdapterRejected, PolicyUnavailable, UnknownAdapter
from runtime.policy.adapter_files import AdapterFiles
from runtime.policy.embedded.decoder import Decoder
from runtime.policy.embedded.fused import FusedDecoder, FusedModel, can_fuse
from runtime.policy.embedded.padded import PaddedDecoder


class ResidentAdapters:
    """The base model with its adapters."""

    def __init__(self, base: Any, *, model: str, limit: int, stop_ids: frozenset[int]) -> None:
        """Args: model: the base's name, for messages; limit: the most adapters at a time."""
        self._base = base
        self._stop_ids = stop_ids
        self._model = model
        self._limit = limit
        self._peft: PeftModel | None = None
        self._slots: dict[str, str] = {}
        self._numbers = count()
        self._active: str | None = None
        # Taken before PEFT wraps the layers and their names change.
        self._layers = {
            name: (module.out_features, module.in_features)
            for name, module in base.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        self._fused: dict[str | None, FusedModel] = {None: self._fuse(None)} if can_fuse(base) else {}

    def __contains__(self, name: str) -> bool:
        return name in self._slots

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._slots)

    def activate(self, name: str | None) -> Any:
        """The model to call, with this adapter's weights or the base's."""
        if name is not None and name not in self._slots:
            raise unknown_adapter(name, self.names)
        if self._peft is not None and name != self._active:
            if name is None:
                self._tuner.disable_adapter_layers()
            else:
                self._tuner.enable_adapter_layers()
                self._tuner.set_adapter(self._slots[name], inference_mode=True)
            self._active = name
        # PEFT changes the base's layers in place, so the base is also the way into the adapted model.
        return self._base

    def decoder(self, name: str | None) -> Decoder:
        """A new one, that decodes with this adapter's weights or the base's."""
        if name is not None and name not in self._slots:
            raise unknown_adapter(name, self.names)
        if name in self._fused:
            return FusedDecoder(self._fused[name], self._stop_ids)
        return PaddedDecoder(lambda: self.activate(name), self._stop_ids)

    def load(self, name: str, files: AdapterFiles) -> None:
        """Raises: AdapterRejected: it does not fit; PolicyUnavailable: there is no room. Nothing stays loaded."""
        if name in self._slots:
            raise AdapterRejected(f"an adapter {name!r} is resident already: publish the new one under a new name")
        if len(self._slots) >= self._limit:
            raise PolicyUnavailable(
                f"{len(self._slots)} adapters are resident, the most there may be: unload one first"
            )
        files.check_fits(self._layers, self._model)
        slot = f"slot{next(self._numbers)}"
        try:
            self._attach(slot, files.path)
            if self._fused:
                self._fused[name] = self._fuse(slot)
        # PEFT, safetensors and torch raise errors of many kinds here; to the caller all say that the files will not do.
        except Exception as e:
            self._detach(slot)
            raise AdapterRejected(f"adapter {str(files.path)!r} cannot be loaded into {self._model!r}: {e}") from e
        finally:
            self._settle()
        self._slots[name] = slot

    def unload(self, name: str) -> None:
        """Frees the weights; an adapter that is not resident is left alone."""
        slot = self._slots.pop(name, None)
        self._fused.pop(name, None)
        if slot is not None:
            self._detach(slot)
            self._settle()

    @property
    def _tuner(self) -> Any:
        assert self._peft is not None
        return self._peft.base_model

    def _attach(self, slot: str, path: Path) -> None:
        with warnings.catch_warnings():
            # PEFT reads an attribute of transformers' models by the name that it had.
            warnings.simplefilter("ignore", FutureWarning)
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(
                    self._base, str(path), adapter_name=slot, torch_device=str(self._base.device)
                )
                self._peft.eval()
            else:
                self._peft.load_adapter(str(path), adapter_name=slot, torch_device=str(self._base.device))

    def _detach(self, slot: str) -> None:
        if self._peft is not None and slot in self._peft.peft_config:
            with warnings.catch_warnings():
                # PEFT says that the deleted adapter was active; `_settle` goes back to the base right after.
                warnings.simplefilter("ignore")
                self._tuner.delete_adapter(slot)

    @torch.inference_mode()
    def _fuse(self, slot: str | None) -> FusedModel:
        def weight_of(layer: Any) -> torch.Tensor:
            weight = getattr(layer, "base_layer", layer).weight
            adapted = slot is not None and slot in getattr(layer, "lora_A", ())
            return weight + layer.get_delta_weight(slot) if adapted else weight

        return FusedModel(self._base, weight_of)

    def _settle(self) -> None:
        """Back to the base: loading and deleting move PEFT's active adapter as they please."""
        if self._peft is not None:
            self._tuner.disable_adapter_layers()
            self._peft.eval()
        self._active = None


def unknown_adapter(name: str, resident: frozenset[str]) -> UnknownAdapter:
    known = ", ".join(sorted(resident)) or "none"
    return UnknownAdapter(f"adapter {name!r} is not resident (resident: {known}): load it first")
