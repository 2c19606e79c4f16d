"""Vectors on disk: found again by the same model, computed again where they are lost."""

import logging
from pathlib import Path

import numpy as np
import pytest

from tools.kept_vectors import KeptVectors

ONE, TWO = np.array([1, 0.5], np.float32), np.array([0, -1], np.float32)


def test_vectors_are_found_again_by_text_and_model(tmp_path: Path) -> None:
    KeptVectors(tmp_path / "v.db", "model").put({"a": ONE, "b": TWO})
    found = KeptVectors(tmp_path / "v.db", "model").get(["b", "a", "c"])
    assert {text: vector.tolist() for text, vector in found.items()} == {"a": ONE.tolist(), "b": TWO.tolist()}
    assert KeptVectors(tmp_path / "v.db", "other").get(["a"]) == {}


def test_more_than_one_query_holds_are_found(tmp_path: Path) -> None:
    kept = KeptVectors(tmp_path / "v.db", "model")
    kept.put({str(n): ONE * n for n in range(1_200)})
    found = kept.get([str(n) for n in range(1_200)])
    assert len(found) == 1_200
    assert found["1199"].tolist() == (ONE * 1199).tolist()


def test_a_damaged_file_is_told_and_gives_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "v.db"
    path.write_bytes(b"no database, and long enough not to be taken for an empty one" * 20)
    kept = KeptVectors(path, "model")
    with caplog.at_level(logging.WARNING):
        kept.put({"a": ONE})
        assert kept.get(["a"]) == {}
    assert f"{path}: file is not a database; delete the file" in caplog.text
