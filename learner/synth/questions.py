"""What people ask of any assistant, written by hand in `questions.txt`, one a line: about everything, so that where tools are few
none of them serves it.

A request for another tool is declined for the tool that is missing. These are declined by an agent that has tools and is asked
something else, which is what happens to agents most.
"""

import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from learner.synth import parameters as p
from learner.synth.lexicon import Side, side_of
from learner.synth.situations import Situation, out_of_scope, user
from tools.likeness import content_words

_SLOTS: dict[str, Callable[[random.Random], p.Spoken]] = {
    "place": p.place,
    "person": p.person,
    "year": p.year,
    "title": p.quoted,
    "number": p.integer,
    "day": p.day,
    "code": p.code,
}
_TRIES = 8


@cache
def questions(side: Side) -> tuple[str, ...]:
    """With slots such as {place}; one in eight is kept for evaluation."""
    lines = Path(__file__).with_name("questions.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if side_of(line) == side)


def asked_elsewhere(rng: random.Random, side: Side, schemas: Sequence[dict[str, Any]]) -> Situation | None:
    """A question that shares no word with any of the tools, to be declined; None where a tool serves any subject, or where some
    tries find no question.

    Args: schemas: of the tools that are shown, as OpenAI writes them.
    """
    told = frozenset[str]().union(*map(_told, schemas))
    if told & _ANY_SUBJECT:
        return None
    for _ in range(_TRIES):
        line = rng.choice(questions(side))
        if not content_words(line) & told:
            said = line.format(**{name: speak(rng)[1] for name, speak in _SLOTS.items()})
            return Situation("absent", (user(_as_typed(rng, said)),), out_of_scope())
    return None


def _told(schema: dict[str, Any]) -> frozenset[str]:
    """Words of a tool: of its name and of its description. What its parameters are called says little about what it does."""
    function = schema["function"]
    return content_words(f"{function['name']} {function.get('description', '')}") - _EVERYWHERE


_EVERYWHERE = frozenset(
    (
        "add",
        "calculate",
        "can",
        "check",
        "compute",
        "create",
        "do",
        "find",
        "get",
        "give",
        "list",
        "search",
        "show",
        "tell",
        "what",
    )
)
"""They make no question about a tool."""


_ANY_SUBJECT = frozenset(
    ("web", "wiki", "wikipedia", "engine", "internet", "knowledge", "question", "reminder", "todo")
)
"""Words of tools that might serve a question about anything."""


def _as_typed(rng: random.Random, text: str) -> str:
    draw = rng.random()
    if draw < 0.12:
        return text.rstrip("?.!")
    if draw < 0.2:
        return text.lower() if text == text.capitalize() else text
    return text if draw < 0.9 else rng.choice(("hi, ", "hey ", "Quick question: ", "please, ")) + text
