"""How people ask: formal, casual and terse requests that carry some of a tool's values."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from learner.synth.invention import InventedTool
from learner.synth.lexicon import VERBS
from learner.synth.parameters import Parameter, Spoken

_FORMAL = (
    "Please {ask}.",
    "Could you {ask}?",
    "Could you please {ask}?",
    "I would like to {ask}.",
    "Would you {ask} for me?",
    "Can you {ask}?",
    "I want you to {ask}.",
    "Kindly {ask}.",
    "I need to {ask}.",
)
_CASUAL = (
    "{ask}",
    "{ask} please",
    "hey can you {ask}",
    "hi, {ask}",
    "can u {ask}",
    "{ask} thanks",
    "ok {ask}",
    "i need to {ask}",
    "let's {ask}",
    "{ask}!",
    "so I want to {ask}",
    "pls {ask}",
    "help me {ask}",
    "{ask}.",
)


@dataclass(frozen=True)
class Request:
    """What was said and what it carries."""

    text: str
    arguments: dict[str, Any]


def speak_values(rng: random.Random, tool: InventedTool, names: set[str]) -> dict[str, Spoken]:
    spoken = {p.name: p.speak(rng) for p in tool.parameters if p.name in names}
    if tool.pair and set(tool.pair) <= set(spoken):
        left, right = tool.pair
        for _ in range(5):  # "from km to km" would be no conversion
            if spoken[left][0] != spoken[right][0]:
                break
            spoken[right] = next(p for p in tool.parameters if p.name == right).speak(rng)
    return spoken


def request(rng: random.Random, tool: InventedTool, names: set[str], toolset: Sequence[InventedTool] = ()) -> Request:
    """A request for `tool` that carries the parameters in `names` and no other.

    Where no other tool of `toolset` is about the same noun, the noun alone may stand for the tool.
    """
    spoken = speak_values(rng, tool, names)
    arguments = {p.name: spoken[p.name][0] for p in tool.parameters if p.name in spoken}
    alone = all(other is tool or other.noun != tool.noun for other in toolset)
    if alone and rng.random() < 0.15:
        text = " ".join([rng.choice(_NOUN_QUESTIONS).format(noun=tool.noun), *_pieces(rng, tool, spoken)])
        return Request(text + rng.choice(("?", "?", "", ".")), arguments)
    return Request(_wrap(rng, _ask(rng, tool, spoken, alone)), arguments)


_NOUN_QUESTIONS = (
    "what's the {noun}",
    "what is the {noun}",
    "What is the {noun}",
    "how is the {noun}",
    "how's the {noun}",
    "any {noun}",
    "is there a {noun}",
    "I need a {noun}",
    "I need the {noun}",
    "give me the {noun}",
    "I'd like a {noun}",
    "could I have a {noun}",
    "tell me the {noun}",
    "how much is the {noun}",
    "what would be the {noun}",
    "Which {noun}",
    "a {noun}",
    "my {noun}",
)


def _ask(rng: random.Random, tool: InventedTool, spoken: dict[str, Spoken], alone: bool) -> str:
    pieces = _pieces(rng, tool, spoken)
    head = _head(rng, tool, alone)
    if pieces and rng.random() < 0.12:  # the value first, as in "for Paris, get weather"
        first = pieces.pop(0)
        return " ".join([first + ",", head, *pieces])
    return " ".join([head, *pieces]).replace(" : ", ": ")


def _head(rng: random.Random, tool: InventedTool, alone: bool) -> str:
    verb = tool.verb
    if verb in VERBS and rng.random() < 0.4:
        verb = rng.choice(VERBS[verb])
    draw = rng.random()
    if draw < 0.08 and tool.description:
        return tool.description[0].lower() + tool.description[1:]
    if draw < 0.16 and alone:
        return tool.noun
    if draw < 0.2:
        return f"{tool.noun} {tool.verb}"
    if draw < 0.23:
        return tool.name
    return f"{verb} {rng.choice(('', '', 'a ', 'the ', 'my ', 'this '))}{tool.noun}"


def _pieces(rng: random.Random, tool: InventedTool, spoken: dict[str, Spoken]) -> list[str]:
    pieces: list[str] = []
    done: set[str] = set()
    if tool.pair and set(tool.pair) <= set(spoken) and rng.random() < 0.85:
        left, right = tool.pair
        pieces.append(rng.choice(tool.pair_cues).format(a=spoken[left][1], b=spoken[right][1]))
        done = {left, right}
    # Two values of one type must be told apart by their names.
    types = [str(p.schema) for p in tool.parameters]
    for parameter in tool.parameters:
        if parameter.name in spoken and parameter.name not in done:
            alone = types.count(str(parameter.schema)) == 1
            pieces.append(say(rng, parameter, spoken[parameter.name][1], explicit=not alone and rng.random() < 0.7))
    if len(pieces) > 1 and rng.random() < 0.4:
        rng.shuffle(pieces)
    return pieces


def say(rng: random.Random, parameter: Parameter, text: str, *, explicit: bool = False) -> str:
    cues = [c for c in parameter.cues if "{n}" in c] if explicit and not parameter.flag else parameter.cues
    words = parameter.words if rng.random() < 0.85 else parameter.name
    return rng.choice(cues or parameter.cues).format(n=words, v=text)


def _wrap(rng: random.Random, ask: str) -> str:
    draw = rng.random()
    if draw < 0.3:
        return rng.choice(_FORMAL).format(ask=ask)
    if draw < 0.75:
        text = rng.choice(_CASUAL).format(ask=ask)
        return text[0].upper() + text[1:] if rng.random() < 0.4 else text
    if draw < 0.85:
        return ask[0].upper() + ask[1:] + rng.choice((".", ".", "?", ""))
    return ask


def reply(rng: random.Random, parameters: list[Parameter], spoken: dict[str, Spoken]) -> str:
    """The user's answer to a question about missing values."""
    if len(parameters) == 1 and not parameters[0].flag:
        parameter = parameters[0]
        text = spoken[parameter.name][1]
        form = rng.choice(("{v}", "{v}", "{v}", "{v} please", "it's {v}", "{v}.", "use {v}", "oh, {v}", "cue", "cue"))
        return say(rng, parameter, text) if form == "cue" else form.format(v=text)
    joiner = rng.choice((", ", " and ", "; "))
    return joiner.join(say(rng, p, spoken[p.name][1], explicit=True) for p in parameters)
