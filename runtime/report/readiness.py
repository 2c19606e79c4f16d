"""How ready a tool is to be left to the agent: one score from 0 to 100, and the parts that it comes from. Pure.

    score = 100 x (60 cases + 30 f live + 10 definition) / (60 + 30 f + 10)

    cases       share of the tool's cases that what serves now gets right in full, as a mean over execute, clarify and refuse;
                0 while nothing was measured on the present definition
    live        share of verified among the judged decisions about the tool
    f           how much there is to judge: judged decisions / 30, at most 1; 0: traffic has no say yet
    definition  1 - findings of the linter / 10, at least 0

The mean over kinds is what a policy that always executes, always asks or always refuses cannot raise above a third.
"""

from pydantic import BaseModel, ConfigDict

FORMULA = "100 x (60 cases + 30 f live + 10 definition) / (60 + 30 f + 10), f = judged decisions / 30, at most 1"

_CASES, _LIVE, _DEFINITION = 60, 30, 10
_ENOUGH_JUDGED = 30
_FINDINGS_OF_NOTHING_LEFT = 10


class Readiness(BaseModel):
    model_config = ConfigDict(frozen=True)

    score: float
    """0 to 100, one decimal."""
    cases: float | None
    """None: not measured, counts as 0."""
    live: float | None
    """None: nothing was judged."""
    judged: int
    definition: float
    formula: str = FORMULA


def readiness(*, exact_by_kind: dict[str, float] | None, verified: int, judged: int, findings: int) -> Readiness:
    """Args: exact_by_kind: share of cases right in full by kind of decision; None: not measured."""
    cases = sum(exact_by_kind.values()) / len(exact_by_kind) if exact_by_kind else None
    live = verified / judged if judged else None
    definition = max(0.0, 1 - findings / _FINDINGS_OF_NOTHING_LEFT)
    weight = _LIVE * min(1.0, judged / _ENOUGH_JUDGED)
    total = _CASES * (cases or 0.0) + weight * (live or 0.0) + _DEFINITION * definition
    return Readiness(
        score=round(100 * total / (_CASES + weight + _DEFINITION), 1),
        cases=cases,
        live=live,
        judged=judged,
        definition=definition,
    )
