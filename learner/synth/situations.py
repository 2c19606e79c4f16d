"""What a situation is: a conversation and the one decision that is right; and the turns that conversations are made of."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from learner.rows import ExpectedCall, GroundTruth
from learner.synth.invention import InventedTool
from learner.synth.lexicon import Side, pseudo_word, real_word
from learner.synth.parameters import Parameter, code, listed, number, phrase, place, word
from runtime.decision import (
    Answer,
    Clarify,
    Decision,
    Execute,
    MissingParameter,
    RefusalCategory,
    Refuse,
    ToolCall,
)

OUT_OF_SCOPE_REASON = "None of my tools can do that."
UNSAFE_REASON = "I can not help with that."
NOT_PERMITTED_REASON = "I am not permitted to do that."
GREETING = "Hello. Tell me what you need."
WELCOME = "You are welcome."


@dataclass(frozen=True)
class Situation:
    kind: str
    messages: tuple[dict[str, Any], ...]
    decision: Decision
    taught: tuple[int, ...] = ()
    """Messages, by number, that are decisions too, right where they stand and as the policy writes them."""

    @property
    def truth(self) -> GroundTruth:
        decision = self.decision
        if isinstance(decision, Execute):
            calls = tuple(ExpectedCall(name=c.name, arguments=c.arguments) for c in decision.calls)
            return GroundTruth(decision="execute", tool_calls=calls)
        if isinstance(decision, Clarify):
            return GroundTruth(decision="clarify", missing=tuple(m.model_dump() for m in decision.missing))
        if isinstance(decision, Refuse):
            return GroundTruth(decision="refuse", category=decision.category.value)
        assert isinstance(decision, Answer)
        return GroundTruth(decision="answer", text=decision.text)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def execute(tool: InventedTool, arguments: dict[str, Any]) -> Execute:
    return Execute(calls=(ToolCall(name=tool.name, arguments=arguments),))


def in_order(tool: InventedTool, arguments: dict[str, Any]) -> dict[str, Any]:
    return {p.name: arguments[p.name] for p in tool.parameters if p.name in arguments}


def question_about(words: list[str]) -> str:
    """Asks for values, each named in words."""
    return f"What {listed(words)} should I use?"


def clarify(tool: InventedTool, missing: Sequence[Parameter]) -> Clarify:
    """Asks for values of one tool, in the order of its signature."""
    named = tuple(MissingParameter(tool=tool.name, parameter=p.name) for p in missing)
    return Clarify(question=question_about([p.words for p in missing]), missing=named)


def out_of_scope() -> Refuse:
    return Refuse(reason=OUT_OF_SCOPE_REASON, category=RefusalCategory.OUT_OF_SCOPE)


def invent_result(rng: random.Random, side: Side) -> dict[str, Any]:
    if rng.random() < 0.2:
        kind = rng.choice(("rejected", "failed", "timeout", "bad_arguments", "failed"))
        return {"error": kind, "message": " ".join(word(rng) for _ in range(rng.randint(2, 6)))}
    names = [
        "status",
        "result",
        "id",
        "value",
        "total",
        "name",
        "unit",
        pseudo_word(rng),
        pseudo_word(rng),
        real_word(rng, side),
    ]
    values = (
        lambda: code(rng)[0],
        lambda: number(rng)[0],
        lambda: phrase(rng, 1, 2)[0],
        lambda: place(rng)[0],
        lambda: "ok",
        lambda: rng.random() < 0.5,
    )
    return {name: rng.choice(values)() for name in rng.sample(names, rng.randint(1, 3))}


def say_result(result: dict[str, Any]) -> str:
    """The plain sentence that the starter is taught to make of a tool's JSON result."""
    if "error" in result and "message" in result:
        return f"That did not work: {result['message']}."
    return ", ".join(f"{k}: {v if isinstance(v, str) else json.dumps(v)}" for k, v in result.items()) + "."


def called(served: Sequence[tuple[ToolCall, dict[str, Any]]]) -> tuple[dict[str, Any], ...]:
    """Calls that were made, and the result of each."""
    calls = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for number, (call, _) in enumerate(served)
    ]
    results = [
        {
            "role": "tool",
            "tool_call_id": f"call_{number}",
            "name": call.name,
            "content": json.dumps(result, ensure_ascii=False),
        }
        for number, (call, result) in enumerate(served)
    ]
    return {"role": "assistant", "content": "", "tool_calls": calls}, *results
