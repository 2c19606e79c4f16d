"""The cases of registered tools (`tools.curriculum`) as dataset rows: those of train tools to learn on, those of never-train tools
to measure on.

A tool of one side is never shown in a training row of the other. Pure, and deterministic by seed.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from learner.rows import ExpectedCall, GroundTruth, RewardModel, Row
from tools.curriculum import Case, curriculum
from tools.examples import ClarifyExample, ExecuteExample, RefuseExample
from tools.spec import ToolSpec

DATA_SOURCE = "curriculum"
_LEAST_PER_TOOL = 4
"""Of more tools than rows / 4 some are left out, by seed: four cases of one tell more than one each of four."""


def training_rows(specs: Sequence[ToolSpec], count: int, seed: int = 0) -> list[Row]:
    """Up to `count` rows about train tools in the company of train tools."""
    learnt_on = [spec for spec in specs if not spec.never_train]
    return _drawn(learnt_on, learnt_on, count, seed, "train")


def evaluation_rows(specs: Sequence[ToolSpec], count: int, seed: int = 0) -> list[Row]:
    """Up to `count` rows about never-train tools, in the company of any."""
    set_apart = [spec for spec in specs if spec.never_train]
    return _drawn(set_apart, specs, count, seed, "eval")


def case_row(case: Case, specs: Mapping[str, ToolSpec], split: Literal["train", "eval"]) -> Row:
    """Args: specs: by name, those that the case shows among them."""
    return Row(
        data_source=DATA_SOURCE,
        prompt=({"role": "user", "content": case.expected.utterance},),
        tools=tuple(specs[name].openai() for name in case.shown),
        reward_model=RewardModel(ground_truth=_truth(case)),
        extra_info={
            "id": f"{DATA_SOURCE}/{case.id}",
            "split": split,
            "tool_ids": [case.tool],
            "case": case.kind.value,
        },
    )


def _truth(case: Case) -> GroundTruth:
    match case.expected:
        case ExecuteExample(arguments=arguments):
            return GroundTruth(decision="execute", tool_calls=(ExpectedCall(name=case.tool, arguments=arguments),))
        case ClarifyExample(missing=missing):
            return GroundTruth(
                decision="clarify", missing=tuple({"tool": case.tool, "parameter": name} for name in missing)
            )
        case RefuseExample(category=category):
            return GroundTruth(decision="refuse", category=category)


def _drawn(
    about: Sequence[ToolSpec], company: Sequence[ToolSpec], count: int, seed: int, split: Literal["train", "eval"]
) -> list[Row]:
    """Cases of each tool in turn, the tools and the cases of each mixed by seed."""
    chosen = sorted(about, key=lambda spec: _draw(seed, spec.name))[: -(-count // _LEAST_PER_TOOL)]
    by_name = {spec.name: spec for spec in company}
    piles = [sorted(curriculum(spec, company, seed=seed), key=lambda c: _draw(seed, c.id)) for spec in chosen]
    cases = list(_in_turn(piles))[:count]
    return [case_row(case, by_name, split) for case in cases]


def _in_turn(piles: Sequence[Sequence[Case]]) -> Iterator[Case]:
    for place in range(max(map(len, piles), default=0)):
        yield from (pile[place] for pile in piles if place < len(pile))


def _draw(seed: int, key: str) -> Any:
    return hashlib.sha256(f"{seed}/{key}".encode()).digest()
