"""What was learnt of how users ask for tools: a turn of the sentence model's vectors that brings requests and their tools together.

A sentence model puts texts of the same meaning near each other; a request ("I cannot breathe well") and the tool for it
("Searches first aid for a symptom") do not mean the same. Two matrices, one for requests and one for tools, close part of that
gap; they are learnt by `python -m learner.finder` and apply to tools that nobody has seen (`models/finder/README.md`).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from tools.embedding import Vectors

FINDER = Path(__file__).resolve().parents[1] / "models" / "finder" / "projection.safetensors"

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Projection:
    """Unit vectors in, unit vectors out."""

    requests_DD: Matrix
    tools_DD: Matrix
    name: str
    """Changes with the matrices, so that vectors made with others are not taken for these."""

    @classmethod
    def load(cls, path: Path = FINDER) -> "Projection":
        """Raises: OSError: there is no such file."""
        both = load_file(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return cls(both["requests"].astype(np.float32), both["tools"].astype(np.float32), f"projection {digest[:12]}")

    def of_requests(self, vectors_ND: Vectors) -> Vectors:
        return _turned(vectors_ND, self.requests_DD)

    def of_tools(self, vectors_ND: Vectors) -> Vectors:
        return _turned(vectors_ND, self.tools_DD)


def save_projection(path: Path, requests_DD: Matrix, tools_DD: Matrix) -> None:
    """In half precision, under a temporary name first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = {"requests": requests_DD.astype(np.float16), "tools": tools_DD.astype(np.float16)}
    temporary = path.with_suffix(".tmp")
    save_file(half, temporary)
    temporary.replace(path)


def _turned(vectors_ND: Vectors, matrix_DD: Matrix) -> Vectors:
    turned = vectors_ND + vectors_ND @ matrix_DD
    return turned / np.linalg.norm(turned, axis=1, keepdims=True)
