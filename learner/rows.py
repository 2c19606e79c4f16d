"""Dataset rows: a prompt, the tools shown, and the decision that is right.

The JSONL shape is verl's, so rows written by others load here and ours load there. Generated cases, public sets and
verified traces all become rows before anything is trained or measured on them.
"""

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
    """{"tool", "parameter"} each, or the parameter alone where the tool is left open; empty: any question will do."""
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
