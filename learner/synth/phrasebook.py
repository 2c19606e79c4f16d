"""Tools with requests as people would word them, written by hand in `phrases/*.json`.

Invented grammar alone teaches a stilted English. Here the sentences are real, and what they are about is not: the words that
name a tool's subject are exchanged for others, in its name, its signature and its requests at once, so that the subject can not be
learnt by heart.
"""

import json
import random
import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from learner.synth import parameters as p
from learner.synth.invention import InventedTool, Phrases
from learner.synth.lexicon import Side, pseudo_word, real_word, side_of
from learner.synth.parameters import Parameter, Spoken

_FOLDER = Path(__file__).with_name("phrases")
_SWAPPED = 0.45
"""Share of subjects that are exchanged."""

_DATE: dict[str, Any] = {"type": "string", "format": "date"}
_TYPES: dict[str, tuple[dict[str, Any], Callable[[random.Random], Spoken]]] = {
    "person": (p.STRING, p.person),
    "place": (p.STRING, p.place),
    "site": (p.STRING, p.site),
    "code": (p.STRING, p.code),
    "title": (p.STRING, p.quoted),
    "phrase": (p.STRING, p.phrase),
    "sentence": (p.STRING, p.sentence),
    "email": (p.STRING, p.email),
    "integer": (p.INTEGER, p.integer),
    "number": (p.NUMBER, p.number),
    "year": (p.INTEGER, p.year),
    "date": (_DATE, p.iso_date),
    "clock": (p.STRING, p.clock),
    "day": (p.STRING, p.day),
    "quantity": (p.STRING, p.quantity),
    "expression": (p.STRING, p.expression),
    "file": (p.STRING, p.locator),
    "words": ({"type": "array", "items": p.STRING}, p.list_of(lambda rng: (lambda w: (w, w))(p.word(rng)))),
    "numbers": ({"type": "array", "items": p.NUMBER}, p.list_of(p.number)),
}


@dataclass(frozen=True)
class Entry:
    """One tool of the phrasebook, as written."""

    name: str
    text: str
    """The whole entry as JSON."""
    swap: tuple[str, ...]


@cache
def entries(side: Side) -> tuple[Entry, ...]:
    """One tool in eight is kept for evaluation."""
    found = []
    for path in sorted(_FOLDER.glob("*.json")):
        for tool in json.loads(path.read_text(encoding="utf-8")):
            if side_of(tool["name"]) == side:
                found.append(Entry(tool["name"], json.dumps(tool), tuple(tool["swap"])))
    return tuple(found)


def written_tool(rng: random.Random, side: Side) -> InventedTool:
    """A tool of the phrasebook, most often about something else than it was written for."""
    entry = rng.choice(entries(side))
    text, subject = entry.text, entry.swap[0]
    for word in entry.swap:
        if rng.random() < _SWAPPED:
            other = pseudo_word(rng, side) if rng.random() < 0.5 else real_word(rng, side)
            if other in text:  # it would be taken for another part of the tool
                continue
            text = _exchange(text, word, other)
            subject = other if word == entry.swap[0] else subject
    tool = json.loads(text)
    fractions = {spec["name"] for spec in tool["parameters"] if _is_fraction(tool, spec)}
    return InventedTool(
        name=tool["name"],
        verb=tool["name"],
        noun=subject,
        description=tool["description"] if rng.random() < 0.9 else "",
        parameters=tuple(_parameter(spec, spec["name"] in fractions) for spec in tool["parameters"]),
        phrases=Phrases(*(_without_percent(tool[kind], fractions) for kind in ("complete", "lacking", "beside"))),
    )


_FRACTION = re.compile(
    "(rate|share|inflation|efficiency|confidence|margin|growth|yield|probability|chance|volatility|return|interest)s?$"
)
_IN_PERCENT = r"( ?%| percent| per cent| times in a hundred| points)"


def _is_fraction(tool: dict[str, Any], spec: dict[str, Any]) -> bool:
    """Whether a parameter is a rate, a share or a chance that people say in percent: interfaces want these as a part of 1.

    In public sets 64 of 87 numbers that are said in percent are (BFCL, Seal-Tools); few of the others are called so.
    """
    if spec["type"] != "number" or not _FRACTION.search(spec["name"]) or "percent" in tool["description"]:
        return False
    said = re.compile(rf"{{{spec['name']}}}{_IN_PERCENT}")
    return any(said.search(sentence) for sentence in (*tool["complete"], *tool["lacking"]))


def _without_percent(sentences: Sequence[str], fractions: Set[str]) -> tuple[str, ...]:
    """Where fractions are said, their values bring the sign along."""
    if not fractions:
        return tuple(sentences)
    said = re.compile(rf"({{(?:{'|'.join(sorted(fractions))})}}){_IN_PERCENT}")
    return tuple(said.sub(r"\1", sentence) for sentence in sentences)


def _exchange(text: str, word: str, other: str) -> str:
    """Exchanges a word and its plural, in sentences and in names (`wine_list`, `wineList`, `getWines`), but not "winery"."""
    text = re.sub(rf"(?<![a-z]){word}(?=(s|es)?(?![a-z]))", other, text)
    return re.sub(rf"{word.capitalize()}(?=(s|es)?(?![a-z]))", other.capitalize(), text)


def _parameter(spec: dict[str, Any], is_fraction: bool) -> Parameter:
    if is_fraction:
        schema, speak = p.NUMBER, p.fraction
    elif spec["type"] == "enum":
        options = tuple(spec["options"])
        schema, speak = {"type": "string", "enum": list(options)}, p.choose(options)
    else:
        schema, speak = _TYPES[spec["type"]]
    return Parameter(spec["name"], dict(schema), spec["required"], ("{v}", *p.EXPLICIT), speak)
