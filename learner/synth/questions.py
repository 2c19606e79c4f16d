"""What people ask of any assistant and its tools do not serve.

A request for another tool is declined for the tool that is missing. These are declined by an agent that has tools and is asked
something else, which is what happens to agents most. Those about everything are written by hand in `questions.txt`, one a line,
for where tools are few none of them serves it. Those about the very subject of a tool stand with it in the phrasebook (`beside`).
"""

import random
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from learner.synth import parameters as p
from learner.synth import utterances
from learner.synth.invention import InventedTool
from learner.synth.lexicon import Side, side_of
from learner.synth.situations import Situation, out_of_scope, user
from tools.likeness import content_words

_SLOT = re.compile(r"{(\w+)}")
_FILLED: dict[str, Callable[[random.Random], str]] = {
    "place": lambda rng: p.place(rng)[1],
    "person": lambda rng: p.person(rng)[1],
    "year": lambda rng: p.year(rng)[1],
    "title": lambda rng: p.quoted(rng)[1],
    "number": lambda rng: str(rng.choice((rng.randint(2, 12), rng.randint(2, 90)))),
    "day": lambda rng: rng.choice(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")),
    "code": lambda rng: p.code(rng)[1],
}
_TRIES = 8


@cache
def questions(side: Side) -> tuple[str, ...]:
    """With slots such as {place}; one in eight is kept for evaluation."""
    lines = Path(__file__).with_name("questions.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if side_of(line) == side)


def asked_elsewhere(rng: random.Random, side: Side, schemas: Sequence[dict[str, Any]]) -> Situation | None:
    """A question to be declined, whose words, but for the values in it, no tool has; None where a tool serves any subject, or
    where some tries find none.

    Args: schemas: of the tools that are shown, as OpenAI writes them.
    """
    for _ in range(_TRIES):
        line = rng.choice(questions(side))
        if is_none_about(_SLOT.sub("", line), schemas):
            said = _SLOT.sub(lambda slot: _FILLED[slot[1]](rng), line)
            return Situation("absent", (user(_as_typed(rng, said)),), out_of_scope())
    return None


def asked_beside(rng: random.Random, tool: InventedTool, others: Sequence[dict[str, Any]]) -> Situation | None:
    """A request about a tool's subject that it does not serve, to be declined; None where another that is shown might.

    Args:
        tool: one for which such requests were written.
        others: schemas of the others, as OpenAI writes them.
    """
    said = utterances.beside(rng, tool)
    return Situation("absent", (user(said),), out_of_scope()) if is_none_about(said, others) else None


def is_none_about(said: str, schemas: Sequence[dict[str, Any]]) -> bool:
    """Whether no word of it is a tool's, and no tool serves any subject."""
    told = frozenset[str]().union(*map(_told, schemas))
    return not told & (_ANY_SUBJECT | content_words(said))


def _told(schema: dict[str, Any]) -> frozenset[str]:
    """Words of a tool: of its name and of its description. What its parameters are called says little about what it does."""
    function = schema["function"]
    return content_words(f"{function['name']} {function.get('description', '')}") - _EVERYWHERE


_EVERYWHERE = content_words("add calculate can check compute create do find get give list search show tell what")
"""Words that a tool and a question may share and still have nothing to do with each other."""


_ANY_SUBJECT = content_words(
    "web wiki wikipedia engine internet knowledge question reminder todo task note calendar appointment"
)
"""Words of tools that look up, or put down, whatever a request is about."""


def _as_typed(rng: random.Random, text: str) -> str:
    draw = rng.random()
    if draw < 0.12:
        return text.rstrip("?.!")
    if draw < 0.2:
        return text.lower() if text == text.capitalize() else text
    return text if draw < 0.9 else rng.choice(("hi, ", "hey ", "Quick question: ", "please, ")) + text
