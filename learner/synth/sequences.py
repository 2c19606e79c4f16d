"""Situations of more than one call: several requests at once, one request for several values, calls that go on from a result, and
corrections of a call that was made."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from learner.synth import utterances
from learner.synth.invention import InventedTool
from learner.synth.lexicon import Side
from learner.synth.parameters import Parameter
from learner.synth.situations import (
    Situation,
    assistant,
    called,
    execute,
    in_order,
    invent_result,
    say_result,
    user,
)
from learner.synth.toolset import Toolset
from learner.synth.utterances import Request
from runtime.decision import Answer, Execute, ToolCall

Maker = Callable[[random.Random, Side, Toolset], Situation | None]

_AND = (", and ", ". Then ", ", then ", " and also ", "; ", ". Also ", ". After that ", ", and after that ")


def together(rng: random.Random, first: str, second: str) -> str:
    """Two requests in one message."""
    return first.rstrip(".?! ") + rng.choice(_AND) + second


@dataclass(frozen=True)
class _Two:
    """Two requests in one message."""

    text: str
    tools: tuple[InventedTool, InventedTool]
    arguments: tuple[dict[str, Any], dict[str, Any]]

    @property
    def decision(self) -> Execute:
        calls = (ToolCall(name=t.name, arguments=a) for t, a in zip(self.tools, self.arguments, strict=True))
        return Execute(calls=tuple(calls))


def _two(rng: random.Random, toolset: Toolset) -> _Two | None:
    same = len(toolset) == 1 or rng.random() < 0.4
    first, second = (toolset.pick(rng),) * 2 if same else toolset.pick_two(rng)
    made = [utterances.complete(rng, tool, toolset) for tool in (first, second)]
    if first is second and made[0].arguments == made[1].arguments:
        return None
    text = together(rng, made[0].text, made[1].text)
    return _Two(text, (first, second), (made[0].arguments, made[1].arguments))


def several(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    """Two requests: two calls."""
    two = _two(rng, toolset)
    return two and Situation("several", (user(two.text),), two.decision)


def each(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    """One request for several values of one parameter, or for all of a tool's values twice: a call for each."""
    tool = toolset.pick(rng)
    made = (utterances.and_again if rng.random() < 0.35 else utterances.for_each)(rng, tool, toolset)
    if made is None:
        return None
    calls = tuple(ToolCall(name=tool.name, arguments=arguments) for arguments in made[1])
    return Situation("each", (user(made[0]),), Execute(calls=calls))


def rest(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    """Two requests of which the first has been served: the second call; both have been: an answer from both results."""
    two = _two(rng, toolset)
    if two is None:
        return None
    first, second = two.decision.calls
    results = [invent_result(rng, side), invent_result(rng, side)]
    if rng.random() < 0.5:
        served = called(((first, results[0]),))
        return Situation("rest", (user(two.text), *served), Execute(calls=(second,)))
    served = called(((first, results[0]), (second, results[1])))
    return Situation("rest", (user(two.text), *served), Answer(text=" ".join(map(say_result, results))))


_FROM_THERE = (
    "with the {n} from that",
    "using the {n} that it gives",
    "with the {n} you get",
    "take the {n} from there",
    "with its {n}",
    "the {n} is in the result",
    "for that {n}",
    "using the {n} it returns",
    "with the {n} that comes back",
    "use that {n}",
)


def chain(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    """A request whose second part needs a value that the first one's result gives: the first call, then the second with it."""
    first = toolset.pick(rng)
    ask = utterances.complete(rng, first, toolset)
    found = _lacking_one(rng, toolset)
    if found is None or found[0] is first:
        return None
    second, lacking, parameter = found
    reference = rng.choice(_FROM_THERE).format(n=parameter.words if rng.random() < 0.7 else parameter.name)
    tail = f"{lacking.text.rstrip('.?! ')}{rng.choice((' ', ', ', ' - '))}{reference}"
    text = ask.text.rstrip(".?! ") + rng.choice(_AND) + tail + rng.choice(("", ".", " please"))
    call = ToolCall(name=first.name, arguments=ask.arguments)
    if rng.random() < 0.35:
        return Situation("chain", (user(text),), Execute(calls=(call,)))
    result = invent_result(rng, side)
    if "error" in result:
        served = called(((call, result),))
        return Situation("chain", (user(text), *served), Answer(text=say_result(result)))
    value, _ = parameter.speak(rng)
    result = dict(rng.sample([*result.items(), (parameter.name, value)], len(result) + 1))
    result[parameter.name] = value  # whatever else came under that name
    arguments = in_order(second, {**lacking.arguments, parameter.name: value})
    return Situation("chain", (user(text), *called(((call, result),))), execute(second, arguments))


def _lacking_one(rng: random.Random, toolset: Toolset) -> tuple[InventedTool, Request, Parameter] | None:
    """A request that leaves one plain value out."""
    able = [tool for tool in toolset if tool.required]
    if not able:
        return None
    tool = toolset.pick(rng, able)
    made = utterances.lacking(rng, tool, toolset)
    if made is None or len(made[1]) != 1 or not made[1][0].is_plain:
        return None
    return tool, made[0], made[1][0]


_NAMED = (
    "sorry, the {n} should be {v}",
    "make the {n} {v} instead",
    "change the {n} to {v}",
    "no, {n} {v}",
    "the {n} is wrong, it should be {v}",
    "not {o}, {n} {v}",
    "I meant {v} as the {n}",
    "{n} {v} instead of {o}",
    "same again with {n} {v}",
)
_UNNAMED = (
    "no, {v}",
    "make it {v}",
    "make that {v} instead",
    "sorry, I meant {v}",
    "{v}, not {o}",
    "not {o}, {v}",
    "{v} instead of {o}",
    "and for {v}?",
    "now the same for {v}",
    "what about {v}?",
)


def corrected(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    """A call was made, and the user changes one of its values: the call again, with the other value."""
    tool = toolset.pick(rng)
    made = utterances.spoken_request(rng, tool, toolset)
    able = [p for p in tool.parameters if p.name in made.spoken and p.is_plain]
    if not able:
        return None
    parameter = rng.choice(able)
    old, before = made.spoken[parameter.name]
    new, after = parameter.speak(rng)
    if new == old:
        return None
    arguments = {name: value for name, (value, _) in made.spoken.items()}
    of_its_type = [p for p in tool.parameters if p.name in arguments and p.schema == parameter.schema]
    forms = _UNNAMED if len(of_its_type) == 1 and rng.random() < 0.6 else _NAMED
    said = rng.choice(forms).format(n=parameter.words if rng.random() < 0.8 else parameter.name, v=after, o=before)
    result = invent_result(rng, side)
    call = ToolCall(name=tool.name, arguments=in_order(tool, arguments))
    messages = (user(made.text), *called(((call, result),)), assistant(say_result(result)), user(said))
    return Situation("corrected", messages, execute(tool, in_order(tool, {**arguments, parameter.name: new})))
