"""Dataset rows: a prompt, the tools shown, and the decision that is right.

The JSONL shape is verl's, so rows written by others load here and ours load there. Generated cases, public sets and
verified traces all become rows before anything is trained or measured on them.
"""

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ExpectedCall(_Frozen):
    name: str
    arguments: dict[str, Any] = {}
    """A value may be {"any_of": [...], "optional": bool}: any of these will do; optional: may be left out."""


class GroundTruth(_Frozen):
    """The right decision. One of tool_calls (execute), missing (clarify) and category (refuse) is filled."""

    decision: Literal["execute", "clarify", "refuse", "answer"]
    tool_calls: tuple[ExpectedCall, ...] = ()
    missing: tuple[dict[str, str], ...] = ()
    """{"tool", "parameter"} each; empty: any question will do."""
    category: str | None = None
    """None: any refusal will do."""
    text: str | None = None
    """For answer: the reply the generator taught; rewards do not compare it word by word."""


class RewardModel(_Frozen):
    style: Literal["rule"] = "rule"
    ground_truth: GroundTruth


class Row(_Frozen):
    data_source: str
    prompt: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...]
    reward_model: RewardModel
    extra_info: dict[str, Any] = Field(default_factory=dict)
    """Holds at least id and split ("train" or "eval"); tool_ids names the tools that count for the split."""

    @property
    def truth(self) -> GroundTruth:
        return self.reward_model.ground_truth


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a .jsonl or .jsonl.gz file, in order. Raises: ValueError naming file and line."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield Row.model_validate_json(line)
            except ValueError as e:
                raise ValueError(f"{path}:{number}: not a dataset row: {e}") from e


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
