"""Families from rows that others wrote: real tools and real requests, in companies and with values of our drawing.

Public sets hold one request or two for a tool, and their class shows by form (one gives five tools and always calls). So tools are
drawn from the whole set, and every family asks for what is there, most often for its first tool (`learner.synth.toolset`), for what
is not, and for too little (`learner.variants`).
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from learner import variants
from learner.demonstration import decide
from learner.rewards import score
from learner.rows import ExpectedCall, GroundTruth, RewardModel, Row
from learner.synth.conversations import can_go_on, joined
from learner.synth.lexicon import Side, side_of
from learner.synth.parameters import split_name
from learner.synth.scenarios import Family
from learner.synth.sequences import together
from learner.synth.situations import Situation, user
from learner.synth.toolset import CHANCES
from runtime.decision import Execute
from tools.json_schema import argument_errors

_SIZES = (1, 2, 3, 4, 5)
_LONGEST_SCHEMA = 420
"""Characters of a tool's signature and description; longer ones leave no room for a neighbour."""


@dataclass(frozen=True)
class Borrowed:
    """Rows by the tool that they call."""

    side: Side
    tools: dict[str, dict[str, Any]]
    rows: dict[str, tuple[Row, ...]]
    pool: variants.Pool

    @classmethod
    def of(cls, rows: Sequence[Row], side: Side) -> "Borrowed":
        """Takes sound rows with one request and one call; one tool in eight is kept for evaluation."""
        found: dict[str, list[Row]] = defaultdict(list)
        tools: dict[str, dict[str, Any]] = {}
        for row in rows:
            name = row.truth.tool_calls[0].name if len(row.truth.tool_calls) == 1 else ""
            if not name or side_of(name) != side or not variants.is_plain(row) or not _is_sound(row):
                continue
            tool = next(t for t in row.tools if t["function"]["name"] == name)
            if len(str(tool)) > 3 * _LONGEST_SCHEMA or tools.setdefault(name, tool) != tool:
                continue
            found[name].append(_plainly(row))
        kept = {name: tuple(members) for name, members in found.items()}
        return cls(side, {n: tools[n] for n in kept}, kept, variants.Pool.of([r for m in kept.values() for r in m]))

    def family(self, rng: random.Random, *, situations: int, long: bool = False) -> Family:
        """Args: long: each situation comes late in a conversation, after others over the same tools."""
        shown = rng.sample(sorted(self.tools), rng.choice(_SIZES))
        tools = tuple(self.tools[name] for name in shown)
        make = self._conversation if long else self._situation
        made = tuple(make(rng, shown, tools) for _ in range(situations))
        return Family(self.side, (), made, tools)

    def _conversation(self, rng: random.Random, shown: list[str], tools: tuple[dict[str, Any], ...]) -> Situation:
        rounds: list[Situation] = []
        while len(rounds) < rng.choice((1, 2, 3, 4)):
            made = self._situation(rng, shown, tools)
            rounds += [made] if can_go_on(made) else []
        return joined(rng, [*rounds, self._situation(rng, shown, tools)], self.side, "borrowed conversation")

    def _situation(self, rng: random.Random, shown: list[str], tools: tuple[dict[str, Any], ...]) -> Situation:
        while True:
            kind = rng.choices(("execute", "several", "clarify", "absent"), (44, 8, 21, 27))[0]
            if kind == "several":
                made = self._several(rng, shown, tools)
            else:
                row = self._row(rng, kind, shown, tools)
                decision = None if row is None else decide(row)
                made = None if row is None or decision is None else Situation("", row.prompt, decision)
            if made is not None:
                return replace(made, kind=f"borrowed {kind}")

    def _several(self, rng: random.Random, shown: list[str], tools: tuple[dict[str, Any], ...]) -> Situation | None:
        """Two requests in one message: a call for each."""
        rows = [self._row(rng, "execute", shown, tools) for _ in range(2)]
        first, second = (None if row is None else decide(row) for row in rows)
        if not isinstance(first, Execute) or not isinstance(second, Execute) or first == second:
            return None
        text = together(rng, *(row.prompt[-1]["content"] for row in rows if row is not None))
        return Situation("", (user(text),), Execute(calls=(*first.calls, *second.calls)))

    def _row(self, rng: random.Random, kind: str, shown: list[str], tools: tuple[dict[str, Any], ...]) -> Row | None:
        if kind == "absent":
            name = rng.choice(sorted(self.rows))
            if any(_words(name) & _words(other) for other in shown):  # it might serve as well
                return None
            row = rng.choice(self.rows[name])
            return variants.refused(row, tools)
        name = rng.choices(shown, CHANCES[: len(shown)])[0]
        row = rng.choice(self.rows[name]).model_copy(update={"tools": tools})
        if rng.random() < 0.6:
            row = variants.other_values(rng, row, self.pool) or row
        return variants.lacking(rng, row, self.pool) if kind == "clarify" else row


def _plainly(row: Row) -> Row:
    """With the one value of each argument that is taught, where the label allows several."""
    decision = decide(row)
    assert isinstance(decision, Execute)
    calls = tuple(ExpectedCall(name=call.name, arguments=call.arguments) for call in decision.calls)
    return row.model_copy(
        update={"reward_model": RewardModel(ground_truth=GroundTruth(decision="execute", tool_calls=calls))}
    )


def _words(name: str) -> set[str]:
    """What a tool is about: the words of its name but the first, most often the verb, without the plural's s."""
    words = split_name(name).lower().split()
    return {word.removesuffix("s") for word in (words[1:] or words)}


def _is_sound(row: Row) -> bool:
    """The label fits its own schema, and every value is said: a small model that is shown others learns to make them up."""
    decision = decide(row)
    if not isinstance(decision, Execute) or not score(decision, row.truth, row.tools).exact:
        return False
    (call,) = decision.calls
    schema = next(t["function"]["parameters"] for t in row.tools if t["function"]["name"] == call.name)
    text = row.prompt[-1]["content"].lower()
    return not argument_errors(schema, call.arguments) and all(_is_said(v, text) for v in call.arguments.values())


def _is_said(value: Any, text: str) -> bool:
    if isinstance(value, list):
        return all(_is_said(item, text) for item in value)
    return isinstance(value, bool) or (isinstance(value, str | int | float) and str(value).lower() in text)
