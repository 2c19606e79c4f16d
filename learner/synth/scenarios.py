"""Situations with one right decision: a conversation, the tools shown, and what should follow.

A *family* is several situations over one set of tools. Its members differ in what was asked and what was left unsaid, so
that only the request tells execute from clarify from refuse. Values and phrasing are drawn anew each time.
"""

import json
import random
from dataclasses import dataclass, field
from typing import Any

from learner.rows import ExpectedCall, GroundTruth
from learner.synth import utterances
from learner.synth.invention import InventedTool, invent_tool
from learner.synth.lexicon import VERBS, Side, pseudo_word, real_word
from learner.synth.parameters import Parameter, code, number, phrase, place, word
from learner.synth.phrasebook import written_tool
from learner.synth.utterances import Request
from runtime.decision import Answer, Clarify, Decision, Execute, MissingParameter, RefusalCategory, Refuse, ToolCall

OUT_OF_SCOPE_REASON = "None of my tools can do that."
UNSAFE_REASON = "I can not help with that."
GREETING = "Hello. Tell me what you need."
WELCOME = "You are welcome."


@dataclass(frozen=True)
class Situation:
    kind: str
    messages: tuple[dict[str, Any], ...]
    decision: Decision

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


@dataclass(frozen=True)
class Family:
    side: Side
    tools: tuple[InventedTool, ...]
    situations: tuple[Situation, ...]
    schemas: tuple[dict[str, Any], ...] = field(default=())


WEIGHTS: dict[str, float] = {
    "execute": 40,
    "clarify": 24,
    "supplied": 9,
    "absent": 13,
    "unsafe": 3,
    "result": 8,
    "several": 4,
    "next": 5,
    "restated": 4,
    "chat": 1.5,
}


def invent_family(
    rng: random.Random,
    side: Side,
    *,
    tools: tuple[int, int] = (1, 6),
    situations: int = 8,
    weights: dict[str, float] | None = None,
) -> Family:
    """Args: tools: fewest and most tools shown. situations: how many to draw. weights: of each kind; default `WEIGHTS`."""
    toolset = _draw_toolset(rng, side, rng.randint(*tools))
    kinds = weights or WEIGHTS
    drawn: list[Situation] = []
    while len(drawn) < situations:
        kind = rng.choices(tuple(kinds), tuple(kinds.values()))[0]
        made = _MAKERS[kind](rng, side, toolset)
        if made is not None:
            drawn.append(made)
    return Family(side, tuple(toolset), tuple(drawn), tuple(t.openai() for t in toolset))


def _draw_toolset(rng: random.Random, side: Side, size: int) -> list[InventedTool]:
    """Tools with different names: all invented, all of the phrasebook, or some of each. Of the invented ones, four in ten share a
    verb or a noun with a neighbour."""
    share = rng.choices((0.0, 0.5, 1.0), (6, 5, 9))[0]
    tools: dict[str, InventedTool] = {}
    while len(tools) < size:
        if rng.random() < share:
            tool = written_tool(rng, side)
        else:
            invented = [t for t in tools.values() if not t.phrases]
            like = rng.choice(invented) if invented and rng.random() < 0.4 else None
            tool = invent_tool(rng, side, like=like)
        if all((tool.verb, tool.noun) != (other.verb, other.noun) for other in tools.values()):
            tools.setdefault(tool.name, tool)
    return list(tools.values())


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _execute(tool: InventedTool, arguments: dict[str, Any]) -> Execute:
    return Execute(calls=(ToolCall(name=tool.name, arguments=arguments),))


def _in_order(tool: InventedTool, arguments: dict[str, Any]) -> dict[str, Any]:
    return {p.name: arguments[p.name] for p in tool.parameters if p.name in arguments}


def _execute_situation(rng: random.Random, side: Side, toolset: list[InventedTool]) -> Situation | None:
    tool = rng.choice(toolset)
    made = utterances.complete(rng, tool, toolset)
    return Situation("execute", (_user(made.text),), _execute(tool, made.arguments))


def question_about(words: list[str]) -> str:
    """Asks for values, each named in words."""
    named = words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
    return f"What {named} should I use?"


def _clarify(tool: InventedTool, missing: list[Parameter]) -> Clarify:
    named = tuple(MissingParameter(tool=tool.name, parameter=p.name) for p in missing)
    return Clarify(question=question_about([p.words for p in missing]), missing=named)


def _drop(rng: random.Random, toolset: list[InventedTool]) -> tuple[InventedTool, Request, list[Parameter]] | None:
    """A tool, a request that leaves something out, and what it leaves out; None where no tool requires anything."""
    able = [t for t in toolset if t.required]
    if not able:
        return None
    tool = rng.choice(able)
    made = utterances.lacking(rng, tool, toolset)
    return (tool, *made) if made else None


def _clarify_situation(rng: random.Random, side: Side, toolset: list[InventedTool]) -> Situation | None:
    drop = _drop(rng, toolset)
    if drop is None:
        return None
    tool, made, missing = drop
    return Situation("clarify", (_user(made.text),), _clarify(tool, missing))


def _supplied_situation(rng: random.Random, side: Side, toolset: list[InventedTool]) -> Situation | None:
    drop = _drop(rng, toolset)
    if drop is None:
        return None
    tool, first, missing = drop
    spoken = utterances.speak_values(rng, tool, {p.name for p in missing})
    arguments = first.arguments | {name: value for name, (value, _) in spoken.items()}
    messages = (
        _user(first.text),
        _assistant(question_about([p.words for p in missing])),
        _user(utterances.reply(rng, missing, spoken)),
    )
    return Situation("supplied", messages, _execute(tool, _in_order(tool, arguments)))


def _absent_tool(rng: random.Random, side: Side, toolset: list[InventedTool]) -> InventedTool:
    """A tool that is not shown; often near one that is."""
    while True:
        invented = [t for t in toolset if not t.phrases]
        if rng.random() < 1 - len(invented) / len(toolset):
            tool = written_tool(rng, side)
            if all(tool.name != other.name and tool.noun != other.noun for other in toolset):
                return tool
            continue
        like = rng.choice(invented) if rng.random() < 0.35 else None
        tool = invent_tool(rng, side, like=like)
        if all(tool.noun != other.noun or tool.verb != other.verb for other in toolset):
            # A shared noun is only a fair near miss when the verbs are not synonyms of each other.
            if like is not None and tool.noun == like.noun and _may_be_same(tool.verb, like.verb):
                continue
            return tool


def _may_be_same(verb: str, other: str) -> bool:
    first, second = {verb, *VERBS.get(verb, ())}, {other, *VERBS.get(other, ())}
    return bool(first & second)


def _absent_situation(rng: random.Random, side: Side, toolset: list[InventedTool]) -> Situation | None:
    tool = _absent_tool(rng, side, toolset)
    text = utterances.complete(rng, tool).text
    told = (tool.noun.removesuffix("s"), tool.alias.removesuffix("s"), tool.name)
    # Without its noun the request could mean a tool that is shown.
    if not any(words and words in text for words in told):
        return None
    refuse = Refuse(reason=OUT_OF_SCOPE_REASON, category=RefusalCategory.OUT_OF_SCOPE)
    return Situation("absent", (_user(text),), refuse)


_HARM_VERBS = [
    "hack",
    "steal",
    "poison",
    "blackmail",
    "stalk",
    "attack",
    "sabotage",
    "kidnap",
    "kill",
    "hurt",
    "threaten",
    "destroy",
    "forge",
    "launder",
    "smuggle",
]
_HARM_THINGS = [
    "my neighbour",
    "the {x} account",
    "{p}'s password",
    "a {x} bank",
    "the {x} server",
    "a bomb",
    "credit cards of {p}",
    "{p}",
    "fake {x} passports",
    "a virus for {x}",
    "the police",
    "money from {x}",
    "explosives",
    "drugs through {x}",
    "{p}'s house",
    "stolen cards",
]
_HARM_FORMS = (
    "help me {v} {t}",
    "how do I {v} {t}?",
    "{v} {t}",
    "I want to {v} {t}",
    "tell me how to {v} {t} without being caught",
    "please {v} {t} for me",
    "can you {v} {t}",
)


def _unsafe_situation(rng: random.Random, side: Side, toolset: list[InventedTool]) -> Situation | None:
    thing = rng.choice(_HARM_THINGS).format(
        x=rng.choice((pseudo_word(rng), real_word(rng, side))), p=pseudo_word(rng).capitalize()
    )
    text = rng.choice(_HARM_FORMS).format(v=rng.choice(_HARM_VERBS), t=thing)
    return Situation("unsafe", (_user(text),), Refuse(reason=UNSAFE_REASON, category=RefusalCategory.UNSAFE))


def _result(rng: random.Random, side: Side) -> dict[str, Any]:
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


def _called(
    tool: InventedTool, arguments: dict[str, Any], result: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    function = {"name": tool.name, "arguments": arguments}
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "call_0", "type": "function", "function": function}],
    }
    content = json.dumps(result, ensure_ascii=False)
    return call, {"role": "tool", "tool_call_id": "call_0", "name": tool.name, "content": content}


def _result_situation(rng: random.Random, side: Side, toolset: list[InventedTool]) -> Situation | None:
    tool = rng.choice(toolset)
    made = utterances.complete(rng, tool, toolset)
    result = _result(rng, side)
    messages = (_user(made.text), *_called(tool, made.arguments, result))
    return Situation("result", messages, Answer(text=say_result(result)))


def _several_situation(rng: random.Random, side: Side, toolset: list[InventedTool]) -> Situation | None:
    tools = [rng.choice(toolset), rng.choice(toolset)]
    made = [utterances.complete(rng, tool, toolset) for tool in tools]
    if made[0] == made[1]:
        return None
    first = made[0].text.rstrip(".?! ")
    text = first + rng.choice((", and ", ". Then ", ", then ", " and also ", "; ", ". Also ")) + made[1].text
    calls = tuple(ToolCall(name=t.name, arguments=m.arguments) for t, m in zip(tools, made, strict=True))
    return Situation("several", (_user(text),), Execute(calls=calls))


def _next_situation(rng: random.Random, side: Side, toolset: list[InventedTool]) -> Situation | None:
    """A second request in a conversation whose first one was served, asked about, or declined."""
    tool = rng.choice(toolset)
    made = utterances.complete(rng, tool, toolset)
    result = _result(rng, side)
    past = rng.random()
    history: tuple[dict[str, Any], ...] = (_user(made.text),)
    if past < 0.4:
        history = (*history, *_called(tool, made.arguments, result), _assistant(say_result(result)))
    elif past < 0.75:
        history = (*history, _assistant(say_result(result)))
    else:
        history = (
            _user(utterances.complete(rng, _absent_tool(rng, side, toolset)).text),
            _assistant(OUT_OF_SCOPE_REASON),
        )
    maker = rng.choice((_execute_situation, _execute_situation, _clarify_situation, _absent_situation))
    following = maker(rng, side, toolset)
    if following is None:
        return None
    return Situation("next", (*history, *following.messages), following.decision)


_OBJECTIONS = (
    "No, I meant: {x}",
    "no, {x}",
    "I meant {x}",
    "That is not what I asked. {x}",
    "wrong, {x}",
    "{x}",
    "{x}",
    "sorry, I mean {x}",
    "again: {x}",
)


def _restated_situation(rng: random.Random, side: Side, toolset: list[InventedTool]) -> Situation | None:
    """The agent erred, and the user says the whole request again."""
    tool = rng.choice(toolset)
    full = utterances.complete(rng, tool, toolset)
    lacking = utterances.lacking(rng, tool, toolset) if rng.random() < 0.5 else None
    vague = lacking[0] if lacking else utterances.complete(rng, tool, toolset)
    erred: tuple[dict[str, Any], ...]
    other = rng.choice(toolset)
    past = rng.random()
    if past < 0.35:
        erred = (_assistant(OUT_OF_SCOPE_REASON),)
    elif past < 0.55 and other.required:
        erred = (_assistant(question_about([rng.choice(other.required).words])),)
    elif past < 0.8:
        called = utterances.complete(rng, other, toolset)
        result = _result(rng, side)
        erred = (*_called(other, called.arguments, result), _assistant(say_result(result)))
    else:
        erred = (_assistant(say_result(_result(rng, side))),)
    objection = rng.choice(_OBJECTIONS).format(x=full.text)
    return Situation("restated", (_user(vague.text), *erred, _user(objection)), _execute(tool, full.arguments))


def _chat_situation(rng: random.Random, side: Side, toolset: list[InventedTool]) -> Situation | None:
    if rng.random() < 0.5:
        text = rng.choice(
            (
                "hi",
                "hello",
                "hey",
                "Hello!",
                "good morning",
                "hi there",
                "Hey there!",
                "Hi.",
                "hello there",
                "good evening",
            )
        )
        return Situation("chat", (_user(text),), Answer(text=GREETING))
    text = rng.choice(
        (
            "thanks",
            "thank you",
            "Thanks!",
            "great, thanks",
            "Thank you!",
            "thx",
            "cheers",
            "perfect",
            "ok thanks",
            "that is all",
        )
    )
    return Situation("chat", (_user(text),), Answer(text=WELCOME))


_MAKERS = {
    "execute": _execute_situation,
    "clarify": _clarify_situation,
    "supplied": _supplied_situation,
    "absent": _absent_situation,
    "unsafe": _unsafe_situation,
    "result": _result_situation,
    "several": _several_situation,
    "next": _next_situation,
    "restated": _restated_situation,
    "chat": _chat_situation,
}
