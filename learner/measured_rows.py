"""From files of rows to the rows that are measured, with all that is odd about them said.

Beside what a sample leaves out, a row is left out only for a reason of `row_forms.Fault`; the rest are measured, and what a reader
of the figures should know about them is remarked.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from learner.labels import fitted, label_errors
from learner.row_files import RowFiles, UnfitRecord
from learner.rows import Row
from learner.serving_order import in_serving_order
from tools.retrieval import Retriever


class Remark(StrEnum):
    """What is odd about a row that is measured all the same."""

    NO_TOOLS = "no_tools"
    INFERRED_LABEL = "inferred_label"
    """Read from a sentence."""
    COERCED_LABEL = "coerced_label"
    """It broke its own schema and was made to fit."""
    LABEL_BREAKS_SCHEMA = "label_breaks_schema"
    """And could not be made to fit, or was not to be (strict)."""
    FLAGGED = "flagged"
    """`extra_info.flags` says that the label is doubtful."""
    SHORTLISTED = "shortlisted"
    """It has more tools than are shown at a time."""
    RIGHT_TOOL_NOT_SHOWN = "right_tool_not_shown"
    """The search left out a tool that the label calls: no policy could be right."""


@dataclass(frozen=True, slots=True)
class MeasuredRows:
    rows: tuple[Row, ...]
    """As the policy sees them and as they are judged."""
    read: tuple[Row, ...]
    """The same rows as they were read, by which runs are held to be over the same data."""
    unfit: tuple[UnfitRecord, ...]
    remarks: dict[Remark, tuple[str, ...]]
    """Ids of the rows."""


def prepare(
    files: RowFiles,
    *,
    sample: int = 0,
    seed: int = 0,
    strict: bool = False,
    retriever: Retriever | None,
    shown_tools: int = 0,
) -> MeasuredRows:
    """
    Args:
        sample: the most rows of each source, drawn by `seed`; 0: all.
        strict: labels stand as they are, also where they break their own schema.
        retriever: puts tools in order as serving does; None: they stay as they are.
        shown_tools: the most that a row shows, where there is a retriever; 0: all.
    """
    read = _sampled(files.rows, sample, seed) if sample else files.rows
    judged = read if strict else tuple(map(fitted, read))
    shown = judged if retriever is None else tuple(in_serving_order(judged, retriever, limit=shown_tools))
    remarks: dict[Remark, list[str]] = {remark: [] for remark in Remark}
    for before, row, after in zip(read, judged, shown, strict=True):
        for remark in _remarks(before, row, after):
            remarks[remark].append(str(row.extra_info["id"]))
    return MeasuredRows(shown, read, files.unfit, {remark: tuple(ids) for remark, ids in remarks.items() if ids})


def _sampled(rows: Sequence[Row], most: int, seed: int) -> tuple[Row, ...]:
    """In the order of the files. A source's draw does not depend on the others."""
    kept: set[str] = set()
    for source in {row.data_source for row in rows}:
        ids = [row.extra_info["id"] for row in rows if row.data_source == source]
        kept.update(random.Random(f"{seed}/{source}").sample(ids, most) if len(ids) > most else ids)
    return tuple(row for row in rows if row.extra_info["id"] in kept)


def _remarks(read: Row, judged: Row, shown: Row) -> list[Remark]:
    found: list[Remark] = []
    if not read.tools:
        found.append(Remark.NO_TOOLS)
    if read.extra_info.get("inferred"):
        found.append(Remark.INFERRED_LABEL)
    if judged is not read:
        found.append(Remark.COERCED_LABEL)
    if label_errors(judged):
        found.append(Remark.LABEL_BREAKS_SCHEMA)
    if read.extra_info.get("flags"):
        found.append(Remark.FLAGGED)
    if len(shown.tools) < len(judged.tools):
        found.append(Remark.SHORTLISTED)
        names = {tool["function"]["name"] for tool in shown.tools}
        if any(call.name not in names for call in judged.truth.tool_calls):
            found.append(Remark.RIGHT_TOOL_NOT_SHOWN)
    return found
