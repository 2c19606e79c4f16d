"""Cases that follow from a tool's definition: what a user might say, which tools are at hand, and what is then right. Pure.

- *example*: as its developer gave it;
- *complete*: a request with all that a call needs: execute;
- *lacking*: the same with one or all required values left out: clarify;
- *absent*: a request with all that a call needs, where other tools are at hand and not this one: refuse.

Values come from the examples, the schema and the names of parameters; the words of a request from the examples, else from the
tool's name and description. The same tool, seed and company give the same cases; which tools keep it company hangs on
their names alone, so one more registered tool changes few cases.
"""

import hashlib
import heapq
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, count, islice
from typing import Any

from tools.examples import ClarifyExample, Example, ExecuteExample, RefuseExample
from tools.json_schema import argument_errors
from tools.likeness import content_words, same_description, same_name, share, words
from tools.sample_values import Sampler, label, spoken
from tools.spec import ToolSpec
from tools.wording import only_place, without

CASES_PER_KIND = 6
COMPANY = 3
"""The most tools beside the one that a case is about."""
_TRIES = 8
"""For each case that is wanted; what comes out twice or cannot be said is no case."""


class CaseKind(StrEnum):
    EXAMPLE = "example"
    COMPLETE = "complete"
    LACKING = "lacking"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Case:
    id: str
    """`TOOL/KIND-N`: unique within a catalogue."""
    kind: CaseKind
    tool: str
    shown: tuple[str, ...]
    """Names of the tools at hand."""
    expected: Example
    """What is said, and what is right."""


def curriculum(
    spec: ToolSpec, others: Sequence[ToolSpec] = (), *, seed: int = 0, per_kind: int = CASES_PER_KIND
) -> tuple[Case, ...]:
    """The cases of one tool; fewer than `per_kind` of a kind where the definition gives no more.

    Args: others: tools that may stand beside it; one that is nearly the same as it never does.
    """
    beside = _Company.of(spec, others)
    given = [_case(spec, CaseKind.EXAMPLE, n, example, beside, seed) for n, example in enumerate(spec.examples)]
    said = {example.utterance.casefold() for example in spec.examples}
    made: list[Case] = []
    for kind, stream in _streams(spec, seed).items():
        kept: list[Example] = []
        for example in islice(stream, per_kind * _TRIES):
            if len(kept) == per_kind:
                break
            if example is None:
                continue
            key = f"{kind}/{example.utterance.casefold()}" if kind is CaseKind.ABSENT else example.utterance.casefold()
            if key not in said:
                said.add(key)
                kept.append(example)
        made += [_case(spec, kind, n, example, beside, seed) for n, example in enumerate(kept)]
    return (*given, *made)


@dataclass(frozen=True, slots=True)
class _Company:
    """The tools that may stand beside one."""

    names: tuple[str, ...]
    nearest: tuple[str, ...]
    """Those that say most nearly the same of themselves: the ones that tempt where the tool itself is absent."""

    @classmethod
    def of(cls, spec: ToolSpec, others: Sequence[ToolSpec]) -> "_Company":
        beside = [other for other in others if other.name != spec.name and not _could_serve(spec, other)]
        near = heapq.nsmallest(COMPANY - 1, beside, key=lambda other: (-_nearness(spec, other), other.name))
        return cls(tuple(other.name for other in beside), tuple(other.name for other in near))


def digest(spec: ToolSpec, cases: Sequence[Case]) -> str:
    """Names a set of cases of one version of a tool: figures on the same set can be compared."""
    plain = [[case.id, case.shown, case.expected.model_dump(mode="json")] for case in cases]
    return hashlib.sha256(json.dumps([spec.sha256, plain], sort_keys=True).encode()).hexdigest()


def _streams(spec: ToolSpec, seed: int) -> dict[CaseKind, Iterator[Example | None]]:
    """Without end; None is a try that came to nothing."""

    def rng(kind: CaseKind) -> random.Random:
        return random.Random(f"{spec.name}/{seed}/{kind}")

    return {
        CaseKind.COMPLETE: _complete(spec, rng(CaseKind.COMPLETE)),
        CaseKind.LACKING: _lacking(spec, rng(CaseKind.LACKING)),
        CaseKind.ABSENT: _absent(spec, rng(CaseKind.ABSENT)),
    }


def _complete(spec: ToolSpec, rng: random.Random) -> Iterator[ExecuteExample | None]:
    """Requests in our own words and after the examples', in turn."""
    shown = [example for example in spec.examples if isinstance(example, ExecuteExample)]
    for turn in count():
        yield _other_values(spec, rng, shown[turn // 2 % len(shown)]) if shown and turn % 2 else _worded(spec, rng)


def _absent(spec: ToolSpec, rng: random.Random) -> Iterator[RefuseExample | None]:
    shown = [example for example in spec.examples if isinstance(example, ExecuteExample)]
    for example in chain(shown, _complete(spec, rng)):
        yield None if example is None else RefuseExample(utterance=example.utterance, category="out_of_scope")


def _lacking(spec: ToolSpec, rng: random.Random) -> Iterator[ClarifyExample | None]:
    shown = [example for example in spec.examples if isinstance(example, ExecuteExample)]
    needed = [name for name in spec.required if _must_be_said(spec, name)]
    for turn in count() if needed else ():
        if shown and turn % 2:
            yield _cut(spec, rng, shown[turn // 2 % len(shown)], needed)
        else:
            gone = needed if len(needed) > 1 and turn % 6 == 4 else [rng.choice(needed)]
            yield _worded_without(spec, rng, gone)


def _must_be_said(spec: ToolSpec, name: str) -> bool:
    """Whether a call needs a value that only the user can give."""
    shape = spec.parameters.get("properties", {}).get(name, {})
    options = shape.get("enum", ()) if isinstance(shape, dict) else ()
    return not (isinstance(shape, dict) and ("default" in shape or "const" in shape or len(options) == 1))


# requests in our own words


def _worded(spec: ToolSpec, rng: random.Random) -> ExecuteExample | None:
    arguments = _arguments(spec, rng)
    if arguments is None:
        return None
    utterance = _say(spec, rng, {n: v for n, v in arguments.items() if _is_choice(spec, n)})
    return None if utterance is None else ExecuteExample(utterance=utterance, arguments=arguments)


def _worded_without(spec: ToolSpec, rng: random.Random, gone: Sequence[str]) -> ClarifyExample | None:
    arguments = _arguments(spec, rng)
    if arguments is None:
        return None
    rest = {name: value for name, value in arguments.items() if name not in gone}
    if not argument_errors(spec.parameters, rest):
        return None
    utterance = _say(spec, rng, {n: v for n, v in rest.items() if _is_choice(spec, n)})
    if utterance is None or any(_is_in(utterance, arguments[name]) for name in gone):
        return None
    return ClarifyExample(utterance=utterance, missing=tuple(gone))


def _arguments(spec: ToolSpec, rng: random.Random) -> dict[str, Any] | None:
    """All required values and some others, such that a call with them is valid; None where that can not be had."""
    sampler = Sampler(spec, rng)
    optional = [name for name in spec.parameters.get("properties", {}) if name not in spec.required]
    chosen = rng.sample(optional, rng.randint(0, min(2, len(optional))))
    arguments = {name: sampler.argument(name) for name in (*spec.required, *chosen)}
    if any(arguments[name] is None for name in spec.required):
        return None
    arguments = {name: value for name, value in arguments.items() if value is not None}
    texts = [value for name, value in arguments.items() if isinstance(value, str) and _must_be_said(spec, name)]
    is_said_twice = len(set(texts)) < len(texts)  # from Oslo to Oslo
    return None if is_said_twice or argument_errors(spec.parameters, arguments) else arguments


def _is_choice(spec: ToolSpec, name: str) -> bool:
    """Whether a value has to be said: there is no choice about a constant."""
    shape = spec.parameters.get("properties", {}).get(name, {})
    return not (isinstance(shape, dict) and "const" in shape)


def _say(spec: ToolSpec, rng: random.Random, values: dict[str, Any]) -> str | None:
    said = {name: spoken(value) for name, value in values.items()}
    if any(text is None for text in said.values()):
        return None
    what = _what(spec, rng)
    if not said:
        return rng.choice(("{}", "{}, please", "I need this: {}")).format(what)
    join = rng.choice(("{} {}", "{}: {}", "{} is {}"))
    listed = ", ".join(join.format(label(name), text) for name, text in said.items())
    template = rng.choice(
        ("{what}: {listed}", "{what}, {listed}, please", "I need this: {what}; {listed}", "{what} with {listed}")
    )
    return template.format(what=what, listed=listed)


def _what(spec: ToolSpec, rng: random.Random) -> str:
    """What is wanted: the first sentence of the description, or the name."""
    sentence = spec.description.strip().split("\n")[0].split(". ")[0].rstrip(".").strip()
    if not sentence or len(sentence) > 120 or rng.random() < 0.3:
        return label(spec.name)
    return sentence[0].lower() + sentence[1:] if sentence[1:2].islower() else sentence


# requests after the examples


def _other_values(spec: ToolSpec, rng: random.Random, example: ExecuteExample) -> ExecuteExample | None:
    """The example's request with other values in the places of its own."""
    sampler = Sampler(spec, rng)
    text, arguments = example.utterance, dict(example.arguments)
    for name, value in example.arguments.items():
        said, fresh = spoken(value), sampler.argument(name)
        new = spoken(fresh)
        if said is None or new is None or isinstance(value, bool) or _is_in(text, fresh):
            continue
        if place := only_place(text, said):
            text, arguments[name] = text[: place.start()] + new + text[place.end() :], fresh
    if arguments == example.arguments or argument_errors(spec.parameters, arguments):
        return None
    return ExecuteExample(utterance=text, arguments=arguments)


def _cut(spec: ToolSpec, rng: random.Random, example: ExecuteExample, needed: Sequence[str]) -> ClarifyExample | None:
    """The example's request without one of the values that it needs."""
    rest = {name: without(example.utterance, spoken(example.arguments.get(name))) for name in needed}
    candidates = [name for name, text in rest.items() if text and not isinstance(example.arguments.get(name), bool)]
    if not candidates:
        return None
    name = rng.choice(candidates)
    return ClarifyExample(utterance=rest[name] or "", missing=(name,))


def _is_in(text: str, value: Any) -> bool:
    said = spoken(value)
    return said is not None and said.casefold() in text.casefold()


# which tools are at hand


def _case(spec: ToolSpec, kind: CaseKind, number: int, expected: Example, beside: _Company, seed: int) -> Case:
    case_id = f"{spec.name}/{kind}-{number}"
    drawn = heapq.nsmallest(COMPANY, beside.names, key=lambda name: _draw(f"{seed}/{case_id}/{name}"))
    if kind is CaseKind.ABSENT:
        shown = [*beside.nearest, *(name for name in drawn if name not in beside.nearest)][:COMPANY]
    else:
        shown = [spec.name, *drawn[: _draw(f"{seed}/{case_id}") % (COMPANY + 1)]]
    return Case(case_id, kind, spec.name, tuple(sorted(shown)), expected)


def _draw(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def _nearness(spec: ToolSpec, other: ToolSpec) -> float:
    return share(content_words(_self_description(spec)), content_words(_self_description(other)))


def _self_description(spec: ToolSpec) -> str:
    return " ".join((*words(spec.name), spec.description, *spec.parameters.get("properties", {})))


def _could_serve(spec: ToolSpec, other: ToolSpec) -> bool:
    """Whether a request for one tool may as well be meant for the other: then neither would be wrong."""
    return same_name(spec.name, other.name) or same_description(spec.description, other.description)
