"""Results on disk: written down batch by batch as they are found, taken up again after a run was broken off, and read back.

The journal is JSON lines: first what the results belong to (data, policy, settings), then one line for each row. Lines are only
appended, each batch in one piece that lasts before the next begins; of two lines about a row the later counts. Nothing in it
depends on the clock.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from learner.errors import BadRows
from learner.evaluation import RowOutcome, Unmeasured
from learner.figures import RowResult
from learner.rows import Row

FORMAT = 1


class ResultJournal:
    """Fulfils `learner.evaluation.Journal`."""

    def __init__(self, path: Path, known: Mapping[str, RowOutcome]) -> None:
        self._path = path
        self._known = dict(known)

    @classmethod
    def open(cls, path: Path, belongs_to: Mapping[str, Any], *, fresh: bool = False) -> "ResultJournal":
        """Goes on with a journal, or begins one.

        Args:
            belongs_to: what must be equal for results to belong together; JSON data.
            fresh: throw away what is there.

        Raises: BadRows: the file holds results of something else, or is no journal.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        head = {"hone_eval": FORMAT, **belongs_to}
        whole = _whole_lines(path) if path.exists() and not fresh else []
        if not whole:
            path.write_text(_line(head), encoding="utf-8")
            return cls(path, {})
        _check_same(path, whole[0], head)
        # a line that was cut off by a kill is written anew
        size = sum(len(line) for line in whole)
        if size < path.stat().st_size:
            os.truncate(path, size)
        return cls(path, {outcome.id: outcome for outcome in (_outcome(path, line) for line in whole[1:])})

    def known(self) -> Mapping[str, RowOutcome]:
        return self._known

    def keep(self, outcomes: Sequence[RowOutcome]) -> None:
        with self._path.open("ab") as file:
            file.write("".join(_line(outcome.model_dump(mode="json")) for outcome in outcomes).encode())
            file.flush()
            os.fsync(file.fileno())
        self._known |= {outcome.id: outcome for outcome in outcomes}


def digest_rows(rows: Sequence[Row]) -> str:
    """sha256 over rows, whatever their order."""
    lines = sorted(_line(row.model_dump(mode="json", exclude_none=True)) for row in rows)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _line(data: Any) -> str:
    return json.dumps(data, ensure_ascii=True, sort_keys=True, separators=(",", ":")) + "\n"


def _whole_lines(path: Path) -> list[bytes]:
    lines = path.read_bytes().splitlines(keepends=True)
    return lines if not lines or lines[-1].endswith(b"\n") else lines[:-1]


def _check_same(path: Path, first: bytes, head: Mapping[str, Any]) -> None:
    try:
        found = json.loads(first)
        version = found["hone_eval"]
    except (ValueError, KeyError, TypeError) as e:
        raise BadRows(f"{path} is no journal of results: choose another --json file, or --fresh to replace it") from e
    wanted = json.loads(_line(head))
    if version != FORMAT or found != wanted:
        other = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        raise BadRows(
            f"{path} holds results of another run ({', '.join(other)} differ): choose another --json file, or --fresh "
            "to start over"
        )


def _outcome(path: Path, line: bytes) -> RowOutcome:
    try:
        data = json.loads(line)
        return Unmeasured.model_validate(data) if "fault" in data else RowResult.model_validate(data)
    except (ValueError, ValidationError) as e:
        raise BadRows(f"{path} holds a line that is no result ({e}): --fresh starts over") from e
