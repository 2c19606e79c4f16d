"""Situations with one right decision: a conversation, the tools shown, and what should follow.

A *family* is several situations over one set of tools. Its members differ in what was asked and what was left unsaid, so
that only the request tells execute from clarify from refuse. Values and phrasing are drawn anew each time.
"""

import json
import random
from dataclasses import dataclass, field, replace
from typing import Any

from learner.synth import dialogues, sequences, utterances
from learner.synth.conversations import can_go_on, joined
from learner.synth.invention import InventedTool, invent_tool
from learner.synth.lexicon import MONTHS, VERBS, Side, pseudo_word, real_word
from learner.synth.parameters import Parameter
from learner.synth.phrasebook import written_tool
from learner.synth.questions import asked_beside, asked_elsewhere
from learner.synth.situations import (
    GREETING,
    OUT_OF_SCOPE_REASON,
    UNSAFE_REASON,
    WELCOME,
    Situation,
    assistant,
    called,
    clarify,
    execute,
    in_order,
    invent_result,
    out_of_scope,
    question_about,
    say_result,
    user,
)
from learner.synth.toolset import Toolset
from learner.synth.utterances import Request
from runtime.decision import Answer, Clarify, Execute, RefusalCategory, Refuse, ToolCall


@dataclass(frozen=True)
class Family:
    side: Side
    tools: tuple[InventedTool, ...]
    situations: tuple[Situation, ...]
    schemas: tuple[dict[str, Any], ...] = field(default=())


WEIGHTS: dict[str, float] = {
    "execute": 40,
    "clarify": 28,
    "supplied": 9,
    "absent": 20,
    "unsafe": 3,
    "result": 8,
    "several": 6,
    "each": 8,
    "rest": 4,
    "chain": 7,
    "corrected": 4,
    "next": 5,
    "restated": 4,
    "gathered": 10,
    "announced": 5,
    "provided": 3,
    "chat": 1.5,
    "conversation": 6,
}

_TRIES = 50
"""For each situation: a single tool gives no chain of two."""
MISTYPED = 0.05
"""Share of requests with a slip of the fingers."""


def invent_family(
    rng: random.Random,
    side: Side,
    *,
    tools: tuple[int, int] = (1, 6),
    situations: int = 8,
    weights: dict[str, float] | None = None,
    by_fit: bool = False,
) -> Family:
    """
    Args:
        tools: fewest and most tools shown.
        situations: how many to draw; fewer, where the tools are not made for such.
        weights: of each kind; default `WEIGHTS`.
        by_fit: the tools stand as a search puts them that most often finds the right one (`learner.synth.toolset`).
    """
    toolset = Toolset(_draw_toolset(rng, side, rng.randint(*tools)), by_fit=by_fit)
    kinds = weights or WEIGHTS
    drawn: list[Situation] = []
    for _ in range(_TRIES * situations):
        if len(drawn) == situations:
            break
        kind = rng.choices(tuple(kinds), tuple(kinds.values()))[0]
        made = _MAKERS[kind](rng, side, toolset)
        if made is not None:
            drawn.append(_mistyped(rng, made) if rng.random() < MISTYPED else made)
    return Family(side, tuple(toolset), tuple(drawn), tuple(t.openai() for t in toolset))


def _mistyped(rng: random.Random, made: Situation) -> Situation:
    """The same with a slip of the fingers in its request, unless that is short."""
    *before, last = made.messages
    if last["role"] != "user" or not isinstance(made.decision, Execute | Clarify):
        return made
    kept = json.dumps([call.arguments for call in made.decision.calls]) if isinstance(made.decision, Execute) else ""
    return replace(made, messages=(*before, user(utterances.mistyped(rng, last["content"], kept + _SPOKEN))))


_SPOKEN = " ".join((*MONTHS, "one two three four five six seven eight nine ten without false true"))
"""Words for values that look otherwise in a call."""


def _draw_toolset(rng: random.Random, side: Side, size: int) -> list[InventedTool]:
    """Tools with different names: all invented, all of the phrasebook, or some of each. Of the invented ones, four in ten share a
    verb or a noun with a neighbour."""
    share = rng.choices((0.0, 0.5, 1.0), (5, 5, 10))[0]
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


def _served(tool: InventedTool, made: Request, result: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return called(((ToolCall(name=tool.name, arguments=made.arguments), result),))


def _execute_situation(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    tool = toolset.pick(rng)
    made = utterances.complete(rng, tool, toolset)
    return Situation("execute", (user(made.text),), execute(tool, made.arguments))


def _drop(rng: random.Random, toolset: Toolset) -> tuple[InventedTool, Request, list[Parameter]] | None:
    """A tool, a request that leaves something out, and what it leaves out; None where no tool requires anything."""
    able = [t for t in toolset if t.required]
    if not able:
        return None
    tool = toolset.pick(rng, able)
    made = utterances.lacking(rng, tool, toolset)
    return (tool, *made) if made else None


def _clarify_situation(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    drop = _drop(rng, toolset)
    if drop is None:
        return None
    tool, made, missing = drop
    return Situation("clarify", (user(made.text),), clarify(tool, missing))


def _supplied_situation(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    drop = _drop(rng, toolset)
    if drop is None:
        return None
    tool, first, missing = drop
    spoken = utterances.speak_values(rng, tool, {p.name for p in missing})
    arguments = first.arguments | {name: value for name, (value, _) in spoken.items()}
    messages = (
        user(first.text),
        assistant(question_about([p.words for p in missing])),
        user(utterances.reply(rng, missing, spoken)),
    )
    return Situation("supplied", messages, execute(tool, in_order(tool, arguments)))


def _absent_tool(rng: random.Random, side: Side, toolset: Toolset) -> InventedTool:
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


_ASKED_ELSEWHERE = 0.35
"""Chance that a request that no tool serves is one about anything."""
_BESIDE = 0.35
"""Chance that it is about the subject of one that is shown, if such were written; the others ask for a tool that is not there."""


def _may_be_same(verb: str, other: str) -> bool:
    first, second = {verb, *VERBS.get(verb, ())}, {other, *VERBS.get(other, ())}
    return bool(first & second)


def _absent_situation(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    draw = rng.random()
    if draw < _ASKED_ELSEWHERE:
        return asked_elsewhere(rng, side, [tool.openai() for tool in toolset])
    written = [tool for tool in toolset if tool.phrases and tool.phrases.beside]
    if written and draw < _ASKED_ELSEWHERE + _BESIDE:
        about = toolset.pick(rng, written)
        return asked_beside(rng, about, [tool.openai() for tool in toolset if tool is not about])
    tool = _absent_tool(rng, side, toolset)
    text = utterances.complete(rng, tool).text
    told = (tool.noun.removesuffix("s"), tool.alias.removesuffix("s"), tool.name)
    # Without its noun the request could mean a tool that is shown.
    if not any(words and words in text for words in told):
        return None
    return Situation("absent", (user(text),), out_of_scope())


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


def _unsafe_situation(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    thing = rng.choice(_HARM_THINGS).format(
        x=rng.choice((pseudo_word(rng), real_word(rng, side))), p=pseudo_word(rng).capitalize()
    )
    text = rng.choice(_HARM_FORMS).format(v=rng.choice(_HARM_VERBS), t=thing)
    return Situation("unsafe", (user(text),), Refuse(reason=UNSAFE_REASON, category=RefusalCategory.UNSAFE))


def _result_situation(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    tool = toolset.pick(rng)
    made = utterances.complete(rng, tool, toolset)
    result = invent_result(rng, side)
    messages = (user(made.text), *_served(tool, made, result))
    return Situation("result", messages, Answer(text=say_result(result)))


def _next_situation(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    """A second request in a conversation whose first one was served, asked about, or declined."""
    tool = toolset.pick(rng)
    made = utterances.complete(rng, tool, toolset)
    result = invent_result(rng, side)
    past = rng.random()
    history: tuple[dict[str, Any], ...] = (user(made.text),)
    if past < 0.4:
        history = (
            *history,
            *_served(tool, made, result),
            assistant(say_result(result)),
        )
    elif past < 0.75:
        history = (*history, assistant(say_result(result)))
    else:
        history = (
            user(utterances.complete(rng, _absent_tool(rng, side, toolset)).text),
            assistant(OUT_OF_SCOPE_REASON),
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


def _restated_situation(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    """The agent erred, and the user says the whole request again."""
    tool = toolset.pick(rng)
    full = utterances.complete(rng, tool, toolset)
    lacking = utterances.lacking(rng, tool, toolset) if rng.random() < 0.5 else None
    vague = lacking[0] if lacking else utterances.complete(rng, tool, toolset)
    erred: tuple[dict[str, Any], ...]
    other = rng.choice(toolset)
    past = rng.random()
    if past < 0.35:
        erred = (assistant(OUT_OF_SCOPE_REASON),)
    elif past < 0.55 and other.required:
        erred = (assistant(question_about([rng.choice(other.required).words])),)
    elif past < 0.8:
        wrong = utterances.complete(rng, other, toolset)
        result = invent_result(rng, side)
        erred = (
            *_served(other, wrong, result),
            assistant(say_result(result)),
        )
    else:
        erred = (assistant(say_result(invent_result(rng, side))),)
    objection = rng.choice(_OBJECTIONS).format(x=full.text)
    return Situation("restated", (user(vague.text), *erred, user(objection)), execute(tool, full.arguments))


def _conversation_situation(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    """Several situations in one conversation."""
    kinds = {kind: weight for kind, weight in WEIGHTS.items() if kind != "conversation"}
    drawn: list[Situation] = []
    rounds = rng.choice((1, 1, 2, 2, 3, 4, 5))
    while len(drawn) <= rounds:
        made = _MAKERS[rng.choices(tuple(kinds), tuple(kinds.values()))[0]](rng, side, toolset)
        if made is not None and (len(drawn) == rounds or can_go_on(made)):
            drawn.append(made)
    return joined(rng, drawn, side, "conversation")


def _chat_situation(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
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
        return Situation("chat", (user(text),), Answer(text=GREETING))
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
    return Situation("chat", (user(text),), Answer(text=WELCOME))


_MAKERS: dict[str, sequences.Maker] = {
    "execute": _execute_situation,
    "clarify": _clarify_situation,
    "supplied": _supplied_situation,
    "absent": _absent_situation,
    "unsafe": _unsafe_situation,
    "result": _result_situation,
    "several": sequences.several,
    "each": sequences.each,
    "rest": sequences.rest,
    "chain": sequences.chain,
    "corrected": sequences.corrected,
    "next": _next_situation,
    "restated": _restated_situation,
    "gathered": dialogues.gathered,
    "announced": dialogues.announced,
    "provided": dialogues.provided,
    "chat": _chat_situation,
    "conversation": _conversation_situation,
}
