"""Situations in which a request takes shape over several turns: details that arrive one by one, an assistant that has said what it
is about to do, and values that another tool has to give first."""

import random
from collections.abc import Sequence
from typing import Any

from learner.synth import utterances
from learner.synth.invention import InventedTool
from learner.synth.lexicon import Side
from learner.synth.parameters import Parameter, Spoken, listed, split_name
from learner.synth.situations import (
    Situation,
    assistant,
    called,
    clarify,
    execute,
    in_order,
    invent_result,
    question_about,
    user,
)
from learner.synth.toolset import Toolset
from runtime.decision import ToolCall

_WILLING = (
    "Sure, I can help you with that.",
    "Sure.",
    "Of course.",
    "Okay.",
    "Certainly, I can do that.",
    "Alright.",
    "Yes, I can help with that.",
    "I can help with that.",
    "No problem.",
    "Gladly.",
)
_NOTED = ("Got it.", "Okay.", "Great.", "Thank you.", "Thanks.", "Alright.", "Noted.", "Perfect.", "Okay, thanks.")
_ASKING = (
    "What is the {n}?",
    "What is your {n}?",
    "Could you tell me the {n}?",
    "Please tell me the {n}.",
    "Can you give me the {n}?",
    "Please provide the {n}.",
    "Can you please provide me with your {n}?",
    "I need the {n}, please.",
    "Which {n}?",
    "And the {n}?",
    "And what is the {n}?",
    "What {n} would you like?",
    "May I have the {n}?",
    "For that I need the {n}.",
    "To do that, I need your {n}. Do you have that with you?",
    "What should the {n} be?",
)
_ABOUT_TO = (
    "Let me check that.",
    "Let me check.",
    "Let me do that for you.",
    "One moment, please.",
    "Just a moment.",
    "I will take care of it.",
    "I'll do that right away.",
    "Please give me a moment.",
    "Let me look it up.",
    "I am on it.",
    "Let me see.",
    "I will do it now.",
    "Give me a second while I do that.",
    "Let me {do} for you.",
    "I'll {do} now.",
    "Let me {do}.",
)
_OPENINGS = (
    "Can you help me {ask}?",
    "can you {ask}",
    "I want to {ask}.",
    "Hi, can you help me {ask}?",
    "I'd like to {ask}",
    "I need to {ask}",
    "Could you {ask} for me?",
    "{ask} please",
    "help me {ask}",
    "Hello, I would like to {ask}.",
)


def _asks(rng: random.Random, missing: Sequence[Parameter], *, first: bool) -> str:
    """The assistant's question in its own words: not the form that the policy is taught, so that the form does not tell."""
    if rng.random() < 0.2:
        return question_about([p.words for p in missing])
    question = rng.choice(_ASKING).format(n=listed([p.words for p in missing]))
    lead = rng.choice(_WILLING if first else _NOTED)
    return f"{lead} {question}" if rng.random() < 0.7 else question


def doing(tool: InventedTool) -> str:
    """What the tool does, as in "book the table": of a tool that others named, the words of its name without a namespace."""
    return split_name(tool.name.split(".")[-1]).lower() if tool.phrases else f"{tool.verb} the {tool.noun}"


def _announces(rng: random.Random, tool: InventedTool, *, first: bool) -> str:
    said = rng.choice(_ABOUT_TO).format(do=doing(tool))
    draw = rng.random()
    if draw < 0.15:
        return rng.choice(_WILLING)
    return f"{rng.choice(_WILLING if first else _NOTED)} {said}" if draw < 0.75 else said


def _opening(rng: random.Random, tool: InventedTool, toolset: Toolset) -> utterances.Lacking | None:
    """A request that lacks something: as anybody words it, or one without any value."""
    if tool.phrases or rng.random() < 0.4:
        return utterances.lacking(rng, tool, toolset)
    return bare_opening(rng, tool, f"{tool.verb} {rng.choice(('', 'a ', 'the ', 'my '))}{tool.noun}")


def bare_opening(rng: random.Random, tool: InventedTool, ask: str) -> utterances.Lacking:
    """A request without any value. Args: ask: what is asked for, as in "book a table"."""
    return utterances.Request(rng.choice(_OPENINGS).format(ask=ask), {}), list(tool.required)


def gathered(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    """The assistant asks for one value or a few at a time. Execute once all are there, whoever spoke last; clarify until then."""
    able = [tool for tool in toolset if tool.required]
    if not able:
        return None
    tool = toolset.pick(rng, able)
    opening = _opening(rng, tool, toolset)
    if opening is None:
        return None
    return take_shape(rng, tool, opening, utterances.speak_values(rng, tool, {p.name for p in opening[1]}))


def take_shape(
    rng: random.Random, tool: InventedTool, opening: utterances.Lacking, spoken: dict[str, Spoken]
) -> Situation:
    """As `gathered`. Args: spoken: of what the opening lacks."""
    request, missing = opening
    arguments = dict(request.arguments)
    messages = [user(request.text)]
    open_at_the_end = rng.choice((0, 0, 0, 1, 2)) if len(missing) > 1 else 0
    while len(missing) > open_at_the_end:
        asked = missing if rng.random() < 0.35 else missing[: rng.choice((1, 1, 1, 2))]
        messages.append(assistant(_asks(rng, asked, first=len(messages) == 1)))
        # Asked for several, people give some.
        told = asked[: rng.randint(1, len(asked))] if len(asked) > 1 and rng.random() < 0.25 else asked
        messages.append(user(utterances.reply(rng, told, spoken)))
        arguments |= {p.name: spoken[p.name][0] for p in told}
        missing = [p for p in missing if p not in told]
    if rng.random() < (0.4 if not missing else 0.1):
        messages.append(assistant(rng.choice(_NOTED) if missing else _announces(rng, tool, first=False)))
    if missing:
        return Situation("gathered", tuple(messages), clarify(tool, missing))
    return Situation("gathered", tuple(messages), execute(tool, in_order(tool, arguments)))


def announced(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    """The assistant said that it will, and has not yet: now it does, or asks for what it lacks."""
    tool = toolset.pick(rng)
    if tool.required and rng.random() < 0.3:
        opening = _opening(rng, tool, toolset)
        return opening and announce(rng, tool, *opening)
    return announce(rng, tool, utterances.complete(rng, tool, toolset), [])


def announce(
    rng: random.Random, tool: InventedTool, request: utterances.Request, missing: Sequence[Parameter]
) -> Situation:
    """As `announced`."""
    messages = (user(request.text), assistant(_announces(rng, tool, first=True)))
    decision = clarify(tool, missing) if missing else execute(tool, request.arguments)
    return Situation("announced", messages, decision)


_FIRST = (
    "To do that I need the {p} first. {q}",
    "For that I have to get your {p}. {q}",
    "Sure, but I need the {p} for it. {q}",
    "I need to find the {p} first. {q}",
    "First I have to look up the {p}. {q}",
)
_GETS = (
    "Let me get the {p}.",
    "First I will get the {p}.",
    "Let me look up your {p} first.",
    "I will fetch the {p} for you.",
)
_HAVE = (
    "{n}",
    "{n} Now I will {do}.",
    "Okay, I have the {p}.",
    "I have your {p} now.",
    "Great, the {p} is {v}.",
    "Got the {p}. One moment, please.",
    "Your {p} is {v}. Let me {do} now.",
    "I have it. Now I will {do}.",
)


def provided(rng: random.Random, side: Side, toolset: Toolset) -> Situation | None:
    """What is asked for needs a value that another tool gives, and the user tells what that one needs: first the one, then, with
    what it gave, the other."""
    able = [tool for tool in toolset if tool.required]
    if len(able) < 2:
        return None
    giver, taker = toolset.pick_two(rng, able)
    lacking = utterances.lacking(rng, taker, toolset)
    if lacking is None or len(lacking[1]) != 1 or not lacking[1][0].is_plain:
        return None
    told = {p.name for p in giver.required}
    if lacking[1][0].name in told:
        return None
    return hand_on(rng, side, giver, utterances.speak_values(rng, giver, told), taker, lacking)


def hand_on(
    rng: random.Random,
    side: Side,
    giver: InventedTool,
    spoken: dict[str, Spoken],
    taker: InventedTool,
    lacking: utterances.Lacking,
) -> Situation | None:
    """As `provided`. Args: spoken: what the giver requires; lacking: a request for the taker without one value."""
    request, (needed,) = lacking
    told = list(giver.required)
    question = rng.choice(_FIRST).format(
        p=needed.words, q=rng.choice(_ASKING).format(n=listed([p.words for p in told]))
    )
    messages: list[dict[str, Any]] = [user(request.text)]
    if rng.random() < 0.75:
        messages += [assistant(question), user(utterances.reply(rng, told, spoken))]
    else:
        known = listed([f"{rng.choice(('my', 'the'))} {p.words} is {spoken[p.name][1]}" for p in told])
        messages[0] = user(f"{request.text.rstrip('.?! ')}. {known[0].upper()}{known[1:]}.")
        messages += [assistant(rng.choice(_GETS).format(p=needed.words))]
    if rng.random() < 0.3 and messages[-1]["role"] == "user":
        messages.append(
            assistant(f"{rng.choice(_NOTED)} {rng.choice((*_GETS, '', '')).format(p=needed.words)}".strip())
        )
    call = ToolCall(name=giver.name, arguments=in_order(giver, {p.name: spoken[p.name][0] for p in told}))
    if rng.random() < 0.4:
        return Situation("provided", tuple(messages), execute(giver, call.arguments))
    result = invent_result(rng, side)
    if "error" in result:
        return None
    value, _ = needed.speak(rng)
    result[needed.name] = value
    messages.extend(called(((call, result),)))
    if rng.random() < 0.4:
        have = rng.choice(_HAVE).format(p=needed.words, v=value, do=doing(taker), n=rng.choice(_NOTED))
        messages.append(assistant(have))
    arguments = in_order(taker, {**request.arguments, needed.name: value})
    return Situation("provided", tuple(messages), execute(taker, arguments))
