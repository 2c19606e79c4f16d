"""Long conversations: situations that follow one another over the same tools, each played out as it should go.

A model reads only such lengths well as it was trained on: without these it answered at random beyond 550 tokens, which a few
served requests fill (`docs/decisions/0041-*.md`).
"""

import random
from collections.abc import Sequence
from typing import Any

from learner.synth.lexicon import Side
from learner.synth.parameters import code, number, sentence, word
from learner.synth.situations import WELCOME, Situation, assistant, called, invent_result, say_result, user
from runtime.decision import Answer, Decision, Execute, Refuse

_DONE = (
    "Done.",
    "That is done.",
    "It worked.",
    "Here is what I found.",
    "All set.",
    "I have done that for you.",
    "Your request was successful.",
    "Here you are.",
    "That has been taken care of.",
)
_MORE = ("", "", "", " Is there anything else?", " Can I help you with anything else?", " What else can I do for you?")
_THANKS = ("thanks", "Thank you!", "great, thanks", "thank you", "perfect", "Thanks.")


def joined(rng: random.Random, situations: Sequence[Situation], side: Side, kind: str) -> Situation:
    """The conversation in which each of the situations was decided as is right, and the last one is to be decided.

    Args: situations: all but the last are such as `can_go_on`.
    """
    *earlier, last = situations
    messages: list[dict[str, Any]] = []
    taught: list[int] = []
    for situation in earlier:
        taught += [len(messages) + at for at in situation.taught]
        messages += situation.messages
        played, decided = _played_out(rng, situation.decision, side)
        taught += [len(messages) + at for at in decided]
        messages += played
        if rng.random() < 0.1:
            messages += [user(rng.choice(_THANKS)), assistant(WELCOME)]
            taught.append(len(messages) - 1)
    taught += [len(messages) + at for at in last.taught]
    return Situation(kind, (*messages, *last.messages), last.decision, tuple(taught))


def can_go_on(situation: Situation) -> bool:
    """Whether the user may speak of something else next: a question would wait for its answer."""
    return isinstance(situation.decision, Execute | Refuse | Answer)


def _played_out(rng: random.Random, decision: Decision, side: Side) -> tuple[list[dict[str, Any]], list[int]]:
    """What follows a decision until the user speaks again, and which of these messages are decisions as they are written."""
    if isinstance(decision, Execute):
        results = [_result(rng, side) for _ in decision.calls]
        messages = list(called(tuple(zip(decision.calls, results, strict=True))))
        if len(str(results)) < 200 and rng.random() < 0.5:
            return [*messages, assistant(" ".join(map(say_result, results)))], [0, len(messages)]
        return [*messages, assistant(rng.choice(_DONE) + rng.choice(_MORE))], [0]
    if isinstance(decision, Refuse):
        return [assistant(decision.reason)], []
    assert isinstance(decision, Answer)
    return [assistant(decision.text)], [0]


def _result(rng: random.Random, side: Side) -> dict[str, Any]:
    """As short as the starter is taught to retell, or records and descriptions as real services give."""
    draw = rng.random()
    if draw < 0.7:
        return invent_result(rng, side)
    names = [word(rng) for _ in range(rng.randint(1, 4))]
    records = [{name: _content(rng) for name in names} for _ in range(rng.randint(2, 5))]
    if draw < 0.85:
        return {rng.choice(("results", "items", "data", word(rng))): records}
    described = {name: {"type": rng.choice(("str", "int", "list")), "description": sentence(rng)[0]} for name in names}
    found = {
        "name": word(rng),
        "description": sentence(rng)[0],
        rng.choice(("parameters", "inputs", "fields")): described,
    }
    return {
        rng.choice(("result", "found", "output", word(rng))): found,
        "status": rng.choice(("ok", 200, None, "done")),
    }


def _content(rng: random.Random) -> Any:
    return rng.choice((word, word, lambda r: sentence(r)[0], lambda r: number(r)[0], lambda r: code(r)[0]))(rng)
