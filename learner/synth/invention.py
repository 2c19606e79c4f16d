"""Invents tools: a name, a description and parameters, as developers write them."""

import random
from dataclasses import dataclass
from typing import Any

from learner.synth.lexicon import NOUNS_BY_SIDE, VERBS, Side, pseudo_word
from learner.synth.parameters import (
    Parameter,
    enum_parameter,
    flag_parameter,
    invented_parameter,
    pair_parameters,
    plain_parameter,
)


@dataclass(frozen=True)
class InventedTool:
    name: str
    verb: str
    noun: str
    description: str
    parameters: tuple[Parameter, ...]
    pair: tuple[str, str] | None = None
    """Names of two parameters that may be said together by `pair_cues`."""
    pair_cues: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[Parameter, ...]:
        return tuple(p for p in self.parameters if p.required)

    def openai(self) -> dict[str, Any]:
        schema = {
            "type": "object",
            "properties": {p.name: p.schema for p in self.parameters},
            "required": [p.name for p in self.required],
        }
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": schema},
        }


_DESCRIPTIONS = (
    "{Verb} a {noun}",
    "{Verb} {noun}",
    "{Verb} the {noun} for the user",
    "{Verb} a {noun} and return the result",
    "Use this to {verb} a {noun}",
    "{Verb}s a {noun} in the {domain} system",
    "{Verb} {noun} ({synonym})",
    "{Synonym} a {noun}",
    "",
)


def invent_noun(rng: random.Random, side: Side) -> str:
    first = pseudo_word(rng, side) if rng.random() < 0.5 else rng.choice(NOUNS_BY_SIDE[side])
    if rng.random() < 0.2:
        second = pseudo_word(rng, side) if rng.random() < 0.5 else rng.choice(NOUNS_BY_SIDE[side])
        if second != first:
            return f"{first} {second}"
    return first


def invent_verb(rng: random.Random, side: Side) -> str:
    return pseudo_word(rng, side) if rng.random() < 0.12 else rng.choice(tuple(VERBS))


def invent_tool(rng: random.Random, side: Side, *, like: InventedTool | None = None) -> InventedTool:
    """One tool; `like` gives its verb or its noun to a neighbour that must be told apart from it."""
    verb, noun = invent_verb(rng, side), invent_noun(rng, side)
    if like is not None:
        verb, noun = (like.verb, noun) if rng.random() < 0.4 else (verb, like.noun)
    parameters, pair, pair_cues = _invent_parameters(rng, side)
    synonyms = VERBS.get(verb, (verb,))
    description = rng.choice(_DESCRIPTIONS).format(
        verb=verb,
        Verb=verb.capitalize(),
        noun=noun,
        domain=pseudo_word(rng),
        synonym=synonyms[0],
        Synonym=synonyms[0].capitalize(),
    )
    return InventedTool(_join_name(rng, verb, noun), verb, noun, description, parameters, pair, pair_cues)


def _join_name(rng: random.Random, verb: str, noun: str) -> str:
    parts = [verb, *noun.split()]
    draw = rng.random()
    if draw < 0.12:
        return parts[0] + "".join(p.capitalize() for p in parts[1:])
    if draw < 0.2:
        return "_".join([*parts[1:], parts[0]])
    return "_".join(parts)


def _invent_parameters(
    rng: random.Random, side: Side
) -> tuple[tuple[Parameter, ...], tuple[str, str] | None, tuple[str, ...]]:
    chosen: dict[str, Parameter] = {}
    pair: tuple[str, str] | None = None
    cues: tuple[str, ...] = ()
    if rng.random() < 0.2:
        (left, right), cues = pair_parameters(rng)
        pair = (left.name, right.name)
        if rng.random() < 0.5:
            value = plain_parameter(rng, True, {left.name, right.name})
            chosen[value.name] = value
        chosen[left.name], chosen[right.name] = left, right
        extra = rng.choice((0, 0, 0, 1))
    else:
        extra = rng.choices((0, 1, 2, 3, 4), (1, 6, 8, 5, 2))[0]
    for index in range(extra):
        required = (index == 0 and pair is None and rng.random() < 0.9) or rng.random() < 0.5
        parameter = _invent_parameter(rng, side, required, set(chosen))
        chosen.setdefault(parameter.name, parameter)
    ordered = list(chosen.values())
    if rng.random() < 0.5:
        ordered.sort(key=lambda p: not p.required)
    return tuple(ordered), pair, cues


def _invent_parameter(rng: random.Random, side: Side, required: bool, taken: set[str]) -> Parameter:
    draw = rng.random()
    if draw < 0.55:
        return plain_parameter(rng, required, taken)
    if draw < 0.78:
        return invented_parameter(rng, required, side)
    if draw < 0.93:
        return enum_parameter(rng, required, taken, side)
    return flag_parameter(rng, taken, side)


def invent_toolset(rng: random.Random, side: Side, size: int) -> list[InventedTool]:
    """Tools with different names, half of which share a verb or a noun with a neighbour."""
    tools: dict[str, InventedTool] = {}
    while len(tools) < size:
        like = rng.choice(list(tools.values())) if tools and rng.random() < 0.4 else None
        tool = invent_tool(rng, side, like=like)
        if all((tool.verb, tool.noun) != (other.verb, other.noun) for other in tools.values()):
            tools.setdefault(tool.name, tool)
    return list(tools.values())
