"""Situations of more than one call: several requests at once, one request for several values, calls that go on from a result, and
corrections of a call that was made."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from learner.synth import utterances
from learner.synth.invention import InventedTool
from learner.synth.lexicon import Side
from learner.synth.parameters import NUMBER_WORDS, Parameter
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
_INTRODUCED = (
    "",
    "",
    "Could you help me with a few things? ",
    "I need {n} things. ",
    "Please do the following: ",
    "{n} things: ",
)
_FIRST = ("First, ", "First ", "Firstly, ", "To begin with, ", "")
_LATER = ("Second, ", "Then ", "Next, ", "Also, ", "After that, ", "Additionally, ", "Then, ", "And ", "")
_LAST = ("Finally, ", "Lastly, ", "And lastly, ", "Then ", "Also, ", "And finally ", "")


def together(rng: random.Random, requests: Sequence[str]) -> str:
    """Requests in one message."""
    draw = rng.random()
    if draw < (0.75 if len(requests) == 2 else 0.4):
        *earlier, last = requests
        return "".join(request.rstrip(".?! ") + rng.choice(_AND) for request in earlier) + last
    opening = rng.choice(_INTRODUCED).format(n=NUMBER_WORDS[len(requests) - 1]).capitalize()
    bare = [request.rstrip(".?! ") for request in requests]
    if draw < 0.88:
        words = [rng.choice(_FIRST), *(rng.choice(_LATER) for _ in bare[2:]), rng.choice(_LAST)]
        return opening + " ".join(w + text + rng.choice((".", ".", "?")) for w, text in zip(words, bare, strict=True))
    form, gap = rng.choice(
        (("{i}. {t}", " "), ("{i}) {t}", " "), ("{i}. {t}", "\n"), ("- {t}", "\n"), ("({i}) {t}", ", "))
    )
    return opening + gap.join(form.format(i=i, t=text) for i, text in enumerate(bare, 1))


@dataclass(frozen=True)
class _Requests:
    """A few requests in one message."""

    text: str
    calls: tuple[ToolCall, ...]


def _requests(rng: random.Random, toolset: Toolset) -> _Requests | None:
    count = rng.choice((2, 2, 2, 2, 3, 3, 4))
    if len(toolset) == 1 or rng.random() < 0.4:
        tools = [toolset.pick(rng)] * count
    else:
        tools = toolset.pick_two(rng)
        tools += [rng.choice((toolset.pick(rng), rng.choice(toolset))) for _ in range(count - 2)]
    made = [utterances.complete(rng, tool, toolset) for tool in tools]
    calls = tuple(ToolCall(name=tool.name, arguments=m.arguments) for tool, m in zip(tools, made, strict=True))
    if any(call in calls[:at] for at, call in enumerate(calls)):
        return None
    return _Requests(together(rng, [m.text for m in made]), calls)


def several(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    """A few requests: as many calls."""
    made = _requests(rng, toolset)
    return made and Situation("several", (user(made.text),), Execute(calls=made.calls))


def each(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    """One request for several values of one parameter, or for all of a tool's values twice: a call for each."""
    tool = toolset.pick(rng)
    made = (utterances.and_again if rng.random() < 0.35 else utterances.for_each)(rng, tool, toolset)
    if made is None:
        return None
    calls = tuple(ToolCall(name=tool.name, arguments=arguments) for arguments in made[1])
    return Situation("each", (user(made[0]),), Execute(calls=calls))


def rest(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    """A few requests of which the first ones have been served: the other calls; all have been: an answer from the results."""
    made = _requests(rng, toolset)
    if made is None:
        return None
    count = len(made.calls) if rng.random() < 0.5 else rng.randint(1, len(made.calls) - 1)
    results = [invent_result(rng, side) for _ in range(count)]
    messages = (user(made.text), *called(tuple(zip(made.calls[:count], results, strict=True))))
    if count < len(made.calls):
        return Situation("rest", messages, Execute(calls=made.calls[count:]))
    return Situation("rest", messages, Answer(text=" ".join(map(say_result, results))))


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
