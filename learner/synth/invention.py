"""Invents tools: a name, a description and parameters, as developers write them."""

import random
from dataclasses import dataclass
from typing import Any

from learner.synth.lexicon import VERBS, WORDS, Side, pseudo_word, real_word
from learner.synth.parameters import (
    Parameter,
    enum_parameter,
    flag_parameter,
    invented_parameter,
    nested_parameter,
    pair_parameters,
    plain_parameter,
    series_parameters,
)


@dataclass(frozen=True)
class Phrases:
    """Whole requests with {parameter} in the place of values."""

    complete: tuple[str, ...]
    """Each holds every required parameter."""
    lacking: tuple[str, ...]
    """Each leaves at least one required parameter out."""
    beside: tuple[str, ...] = ()
    """About the tool's subject, and nothing that it does."""


@dataclass(frozen=True)
class InventedTool:
    name: str
    verb: str
    noun: str
    description: str
    parameters: tuple[Parameter, ...]
    group: tuple[str, ...] = ()
    """Names of parameters that may be said together, by `group_cues`."""
    group_cues: tuple[str, ...] = ()
    alias: str = ""
    """Another word for the noun, which only the description gives away."""
    phrases: Phrases | None = None
    """How its users ask for it, where that was written by hand; otherwise requests are put together from verb, noun and cues."""

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
    "{Verb} {noun} of a {domain}",
    "{Verb} {noun} by {parameter}",
    "Returns the {noun} for the given {parameter}.",
    "The {noun} of a {domain}, by its {parameter}.",
    "{Verb}s {noun} with a {parameter}",
    "A {domain} tool: {verb} {noun}.",
    "{Verb} one {noun} at a time; needs the {parameter}.",
    "",
)
_ALIAS_DESCRIPTIONS = (
    "{Verb} a {alias}",
    "{Verb} {alias}",
    "{Verb} a {noun} or {alias}",
    "{Verb} {noun}, also called {alias}",
    "Handles {alias} requests.",
    "{Alias} {synonym} for the {domain}",
    "{Synonym} the {alias} by {parameter}",
    "Returns a {alias}.",
    "{Noun} service: {synonym} {alias}",
)
_JOINTS = ("between", "by", "for", "of", "in", "from", "to", "with", "at", "near", "on", "and", "per")


def invent_noun(rng: random.Random, side: Side) -> str:
    first = _noun(rng, side)
    if rng.random() < 0.2:
        second = _noun(rng, side)
        if second != first:
            return f"{first} {second}"
    return first


def _noun(rng: random.Random, side: Side) -> str:
    word = pseudo_word(rng, side) if rng.random() < 0.45 else real_word(rng, side)
    return word + "s" if rng.random() < 0.12 and not word.endswith("s") else word


def invent_verb(rng: random.Random, side: Side) -> str:
    draw = rng.random()
    if draw < 0.12:
        return pseudo_word(rng, side)
    return rng.choice(WORDS) if draw < 0.2 else rng.choice(tuple(VERBS))


def invent_tool(rng: random.Random, side: Side, *, like: InventedTool | None = None) -> InventedTool:
    """One tool; `like` gives its verb or its noun to a neighbour that must be told apart from it."""
    verb, noun = invent_verb(rng, side), invent_noun(rng, side)
    if like is not None:
        verb, noun = (like.verb, noun) if rng.random() < 0.4 else (verb, like.noun)
    parameters, group, group_cues = _invent_parameters(rng, side)
    alias = _noun(rng, side) if rng.random() < 0.25 else ""
    description = _describe(rng, verb, noun, alias, parameters)
    return InventedTool(_join_name(rng, verb, noun), verb, noun, description, parameters, group, group_cues, alias)


def _describe(rng: random.Random, verb: str, noun: str, alias: str, parameters: tuple[Parameter, ...]) -> str:
    synonym = VERBS.get(verb, (verb,))[0]
    words = {
        "verb": verb,
        "noun": noun,
        "alias": alias,
        "domain": pseudo_word(rng) if rng.random() < 0.5 else rng.choice(WORDS),
        "synonym": synonym,
        "parameter": rng.choice(parameters).words if parameters else "name",
    }
    capitals = {key.capitalize(): value.capitalize() for key, value in words.items()}
    return rng.choice(_ALIAS_DESCRIPTIONS if alias else _DESCRIPTIONS).format(**words, **capitals)


def _join_name(rng: random.Random, verb: str, noun: str) -> str:
    parts = [verb, *noun.split()]
    draw = rng.random()
    if draw < 0.1:
        return parts[0] + "".join(p.capitalize() for p in parts[1:])
    if draw < 0.13:
        return "".join(p.capitalize() for p in parts)
    if draw < 0.19:
        return "_".join([*parts[1:], parts[0]])
    if draw < 0.25:  # as in "distance_between"
        return "_".join([*parts[1:], rng.choice(_JOINTS)])
    if draw < 0.29:
        return "_".join([*parts[1:], rng.choice(_JOINTS), rng.choice(WORDS)])
    if draw < 0.32:
        return "_".join([*parts, rng.choice(_JOINTS), rng.choice(WORDS)])
    if draw < 0.36:
        return "_".join(parts[1:])
    return ("-" if draw < 0.38 else "_").join(parts)


def _invent_parameters(
    rng: random.Random, side: Side
) -> tuple[tuple[Parameter, ...], tuple[str, ...], tuple[str, ...]]:
    """Parameters, and which of them may be said together, by which cues."""
    chosen: dict[str, Parameter] = {}
    group: tuple[Parameter, ...] = ()
    cues: tuple[str, ...] = ()
    draw = rng.random()
    if draw < 0.27:
        group, cues = pair_parameters(rng) if draw < 0.2 else series_parameters(rng, side)
        members = {p.name: p for p in group}
        if rng.random() < 0.5:
            value = plain_parameter(rng, True, set(members))
            chosen[value.name] = value
        chosen.update(members)
        extra = rng.choice((0, 0, 0, 1))
    else:
        extra = rng.choices((0, 1, 2, 3, 4), (1, 6, 8, 5, 2))[0]
    for index in range(extra):
        required = (index == 0 and not group and rng.random() < 0.9) or rng.random() < 0.5
        parameter = _invent_parameter(rng, side, required, set(chosen))
        chosen.setdefault(parameter.name, parameter)
    ordered = list(chosen.values())
    if rng.random() < 0.5:
        ordered.sort(key=lambda p: not p.required)
    return tuple(ordered), tuple(p.name for p in group), cues


def _invent_parameter(rng: random.Random, side: Side, required: bool, taken: set[str]) -> Parameter:
    draw = rng.random()
    if draw < 0.55:
        return plain_parameter(rng, required, taken)
    if draw < 0.78:
        return invented_parameter(rng, required, side)
    if draw < 0.9:
        return enum_parameter(rng, required, taken, side)
    if draw < 0.95:
        return nested_parameter(rng, required, taken)
    return flag_parameter(rng, taken, side)
