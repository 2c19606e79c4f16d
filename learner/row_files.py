"""Files of dataset rows: JSONL (plain or .gz) and Parquet, read whole or up to the first fault, and written.

Measuring reads with `read_files`: what is unfit is kept beside the rows, with its place and the reason. Training reads with
`read_rows`, which stops at it.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learner.errors import BadRows
from learner.row_forms import Fault, UnfitRow, row_of
from learner.rows import Row


@dataclass(frozen=True, slots=True)
class UnfitRecord:
    """One record that is not measured."""

    id: str
    """The row's id where it could be read, else its place."""
    place: str
    """file:line, or file:number of the row."""
    fault: Fault
    detail: str


@dataclass(frozen=True, slots=True)
class RowFiles:
    rows: tuple[Row, ...]
    """In the order of the files."""
    unfit: tuple[UnfitRecord, ...]


def read_files(paths: Sequence[Path]) -> RowFiles:
    """All rows of some files; of two with the same id the first counts.

    Raises: BadRows: a file is missing or is neither JSONL nor Parquet.
    """
    rows: dict[str, Row] = {}
    unfit: list[UnfitRecord] = []
    for path in paths:
        for place, found in _read(path):
            if isinstance(found, UnfitRecord):
                unfit.append(found)
            elif (row_id := found.extra_info["id"]) in rows:
                unfit.append(UnfitRecord(row_id, place, Fault.SAME_ID, "an earlier row has this id"))
            else:
                rows[row_id] = found
    return RowFiles(tuple(rows.values()), tuple(unfit))


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, in order. Raises: BadRows: naming the place of the first record that is no row."""
    for place, found in _read(path):
        if isinstance(found, UnfitRecord):
            raise BadRows(f"{place}: not a dataset row: {found.detail}")
        yield found


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Writes JSONL (gzip by suffix) to a temporary name, then renames; returns the number of rows."""
    temporary = path.with_name(path.name + ".tmp")
    opener = gzip.open if path.suffix == ".gz" else open
    count = 0
    with opener(temporary, "wt", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row.model_dump(mode="json", exclude_none=True), ensure_ascii=False) + "\n")
            count += 1
    temporary.replace(path)
    return count


def _read(path: Path) -> Iterator[tuple[str, Row | UnfitRecord]]:
    records = _parquet(path) if path.suffix == ".parquet" else _lines(path)
    stem = path.name.split(".")[0]
    for number, record in records:
        place = f"{path}:{number}"
        try:
            if isinstance(record, ValueError):
                raise UnfitRow(Fault.NOT_JSON, str(record))
            yield place, row_of(record, default_id=f"{path.name}:{number}", default_source=stem)
        except UnfitRow as e:
            yield place, UnfitRecord(_id(record) or f"{path.name}:{number}", place, e.fault, e.detail)


def _id(record: Any) -> str | None:
    extra = record.get("extra_info") if isinstance(record, Mapping) else None
    found = extra.get("id") if isinstance(extra, Mapping) else None
    return None if found is None else str(found)


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Line number and what the line holds, or the error that it is no JSON."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _parsed(line)
    except (OSError, EOFError, zlib.error) as e:
        raise BadRows(f"{path}: cannot be read ({e}): give a .jsonl, .jsonl.gz or .parquet file of rows") from e


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as e:
        return ValueError(f"no JSON ({e})")


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as e:
        raise BadRows(f"{path}: reading Parquet needs pyarrow: pip install -e '.[learn]' in hone's folder") from e
    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=512):
            for record in batch.to_pylist():
                number += 1
                yield number, _without_nulls(record)
    except (OSError, arrow.ArrowException) as e:
        raise BadRows(f"{path}: cannot be read ({e}): give a .jsonl, .jsonl.gz or .parquet file of rows") from e


def _without_nulls(value: Any) -> Any:
    """A table gives each struct of a column all fields that any of them has; those that a row lacks are null."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value
