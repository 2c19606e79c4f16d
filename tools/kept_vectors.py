"""Vectors of texts on disk, so that a restart computes none of them again: 10,000 take minutes of a core.

A cache: what is lost or damaged is computed again. Any number of threads and processes may use one file.
"""

import hashlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)

_TABLE = "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
_AT_ONCE = 500
_BUSY_TIMEOUT_S = 30.0

Vector = NDArray[np.float32]


class KeptVectors:
    """Keyed by a digest of model and text; 1.5 KB each."""

    def __init__(self, path: Path, model: str) -> None:
        """Args: model: name of what computes them; another model's are not found."""
        self._path = path
        self._model = model

    def get(self, texts: Sequence[str]) -> dict[str, Vector]:
        """Those that are there."""
        by_key = {self._key(text): text for text in texts}
        keys, found = list(by_key), dict[str, Vector]()
        try:
            with self._opened() as connection:
                for at in range(0, len(keys), _AT_ONCE):
                    some = keys[at : at + _AT_ONCE]
                    marks = ", ".join("?" * len(some))
                    rows = connection.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", some)
                    found |= {by_key[key]: np.frombuffer(vector, np.float32) for key, vector in rows}
        except sqlite3.Error as e:
            self._lost(e)
        return found

    def put(self, vectors: Mapping[str, Vector]) -> None:
        rows = [(self._key(text), vector.astype(np.float32).tobytes()) for text, vector in vectors.items()]
        try:
            with self._opened() as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
        except sqlite3.Error as e:
            self._lost(e)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S)
        try:
            connection.execute(_TABLE)
            yield connection
        finally:
            connection.close()

    def _lost(self, error: sqlite3.Error) -> None:
        _LOG.warning("vectors of tools are not kept: %s: %s; delete the file if it is damaged", self._path, error)

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self._model}\0{text}".encode()).digest()
