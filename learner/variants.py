"""Rows that follow from a verified one: what would be right had the same user met other tools, or said a little less.

Users restate what was needlessly asked or refused, so what traces prove is mostly "you could have acted". Trained on that alone a
policy acts when it should not. But a verified call proves more than itself:

- *other company*: with other tools beside it, the same call is right;
- *other values*: with another value in the request, the call with that value is right;
- *absent*: where its tool is not at hand, refusing is right;
- *lacking*: with a required value cut out of the request, asking for that value is right.

So each row that was earned gives rows of every class, in the words of real users. Pure, and deterministic by seed.
"""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from learner.matching import unwrap
from learner.rows import ExpectedCall, GroundTruth, RewardModel, Row
from runtime.decision import RefusalCategory
from tools.likeness import words
from tools.wording import is_quoted, only_place, places, without

_FORMS = {
    "email": re.compile(r"\S+@\S+"),
    "day": re.compile(r"\d{4}-\d{2}-\d{2}"),
    "clock": re.compile(r"\d{1,2}:\d{2}"),
    "code": re.compile(r"(?=.*\d)\S+"),
    "words": re.compile(r"[^\d@]+"),
}
"""Values of one form may stand in for each other; text of none of these forms is left as it is."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What a set of rows offers as a whole."""

    tools: Mapping[str, dict[str, Any]]
    """By name."""
    values: Mapping[tuple[str, str], Sequence[str]]
    """Texts that rows have as arguments, by the kind of the parameter and by form; of any kind under ""."""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Pool":
        return cls({t["function"]["name"]: t for row in rows for t in row.tools}, _values(rows))


def variants(rows: Sequence[Row], count: int, seed: int = 0) -> list[Row]:
    """Up to `count` rows that follow from `rows`, the four kinds in turn; fewer where the rows give no more."""
    rng = random.Random(f"variants/{seed}")
    sources = [row for row in rows if is_plain(row)]
    pool = Pool.of(rows)
    kinds = (absent, lacking, other_company, other_values)
    streams = [_stream(rng, kind, sources, pool) for kind in kinds]
    made: list[Row] = []
    while streams and len(made) < count:
        for stream in list(streams):
            row = next(stream, None)
            if row is None:
                streams.remove(stream)
            elif len(made) < count:
                made.append(row)
    return made


_Kind = Callable[[random.Random, Row, Pool], Row | None]


def _stream(rng: random.Random, kind: _Kind, sources: Sequence[Row], pool: Pool) -> Iterator[Row]:
    """One row of a kind from each source that gives one, in mixed order."""
    for source in rng.sample(sources, len(sources)):
        if row := kind(rng, source, pool):
            yield row


def is_plain(row: Row) -> bool:
    """One message of a user's, and a truth that is about tools: nothing said earlier would contradict a variant."""
    said = [m["role"] for m in row.prompt if m["role"] != "system"]
    return (
        said == ["user"] and isinstance(row.prompt[-1]["content"], str) and row.truth.decision in ("execute", "clarify")
    )


def absent(rng: random.Random, row: Row, pool: Pool) -> Row | None:
    subject = _subject(row)
    tools = _company(rng, row, pool, without=subject, size=len(row.tools))
    truth = GroundTruth(decision="refuse", category=RefusalCategory.OUT_OF_SCOPE.value)
    return derived(row, "absent", tools=tools, truth=truth) if tools else None


def other_company(rng: random.Random, row: Row, pool: Pool) -> Row | None:
    subject = _subject(row)
    kept = [tool for tool in row.tools if tool["function"]["name"] in subject]
    others = _company(rng, row, pool, without=subject, size=len(row.tools) - len(kept))
    tools = [*kept, *others]
    rng.shuffle(tools)
    return derived(row, "other company", tools=tuple(tools))


def lacking(rng: random.Random, row: Row, pool: Pool) -> Row | None:
    if row.truth.decision != "execute" or len(row.truth.tool_calls) != 1:
        return None
    (call,) = row.truth.tool_calls
    required = _parameters(row, call.name).get("required", ())
    text: str = row.prompt[-1]["content"]
    cut = {name: without(text, _said(call.arguments.get(name))) for name in required}
    candidates = [name for name, rest in cut.items() if rest and _others_said(call, name, text, rest)]
    if not candidates:
        return None
    name = rng.choice(candidates)
    truth = GroundTruth(decision="clarify", missing=({"tool": call.name, "parameter": name},))
    return derived(row, "lacking", text=cut[name], truth=truth)


def _others_said(call: ExpectedCall, name: str, text: str, rest: str) -> bool:
    """Whether what is left says the other arguments as the whole did."""
    others = [said for other, value in call.arguments.items() if other != name and (said := _said(value))]
    return all(len(places(rest, said)) == len(places(text, said)) for said in others)


def other_values(rng: random.Random, row: Row, pool: Pool) -> Row | None:
    if row.truth.decision != "execute":
        return None
    text: str = row.prompt[-1]["content"]
    new: dict[tuple[str, str], Any] = {}
    for (name, said), (place, value) in sorted(_told_alone(row).items(), key=lambda told: -told[1][0].start()):
        other = _like(rng, name, value, text, pool)
        if other is not None:
            text = text[: place.start()] + str(other) + text[place.end() :]
            new[name, said] = other
    if not new:
        return None
    calls = tuple(
        ExpectedCall(name=call.name, arguments={n: new.get((n, str(_plain(v))), v) for n, v in call.arguments.items()})
        for call in row.truth.tool_calls
    )
    return derived(row, "other values", text=text, truth=GroundTruth(decision="execute", tool_calls=calls))


def _told_alone(row: Row) -> dict[tuple[str, str], tuple[re.Match[str], Any]]:
    """By parameter and wording: values that may be exchanged, with their places. Each is said once, for one parameter only, and
    stands in no other value."""
    text: str = row.prompt[-1]["content"]
    uses: dict[str, list[tuple[str, Any, bool]]] = defaultdict(list)
    for call in row.truth.tool_calls:
        properties = _parameters(row, call.name).get("properties", {})
        for name, value in call.arguments.items():
            if said := _said(value):
                uses[said].append((name, _plain(value), "enum" in properties.get(name, {})))
    spans = {said: [place.span() for place in places(text, said)] for said in uses}
    found: dict[tuple[str, str], tuple[re.Match[str], Any]] = {}
    for said, used in uses.items():
        name, value, _ = used[0]
        place = only_place(text, said)
        others = [span for other, those in spans.items() if other != said for span in those]
        alike = {(n, type(v)) for n, v, _ in used} == {(name, type(value))}
        if place and alike and not any(chosen for _, _, chosen in used) and not _meets(place.span(), others):
            found[name, said] = place, value
    return found


def _meets(span: tuple[int, int], others: Sequence[tuple[int, int]]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)


def for_each(rng: random.Random, row: Row, pool: Pool) -> Row | None:
    """Two to four values of one parameter where the request has one: a call for each. Not one of `variants`: that its user would
    say it so is likely, not proven."""
    if row.truth.decision != "execute" or len(row.truth.tool_calls) != 1:
        return None
    (call,) = row.truth.tool_calls
    text: str = row.prompt[-1]["content"]
    told = _told_alone(row)
    able = [
        key
        for key, (place, _) in told.items()
        if not _LISTED.search(key[1])
        and not is_quoted(text, place)
        and not any(_follow(text, place.span(), other.span()) for at, (other, _) in told.items() if at != key)
    ]
    if not able:
        return None
    name, said = rng.choice(able)
    place, value = told[name, said]
    values = [value]
    for _ in range(rng.choice((1, 1, 2, 3))):
        other = _like(rng, name, value, text, pool)
        if other is not None and not _LISTED.search(str(other)) and str(other) not in map(str, values):
            values.append(other)
    if len(values) == 1:
        return None
    rng.shuffle(values)
    *first, last = map(str, values)
    together = ", ".join(first) + rng.choice((" and ", " and ", " and also ", " as well as ", ", and ")) + last
    calls = tuple(ExpectedCall(name=call.name, arguments={**call.arguments, name: value}) for value in values)
    truth = GroundTruth(decision="execute", tool_calls=calls)
    return derived(row, "for each", text=text[: place.start()] + together + text[place.end() :], truth=truth)


_LISTED = re.compile(r",| and ")


def _follow(text: str, span: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two values stand in a row, as in "(3, 5)": one more would be taken for a part of it."""
    return bool(_BETWEEN.fullmatch(text[min(span[1], other[1]) : max(span[0], other[0])]))


_BETWEEN = re.compile(r"[\s,;()/&x-]*(?:(?:and|to|by)\b[\s,;(]*)?", re.IGNORECASE)


def _like(rng: random.Random, name: str, value: Any, text: str, pool: Pool) -> Any | None:
    """Another value of the same form that the text does not have, most often one that a parameter of the same kind had; None where
    there is none."""
    new = _text_like(rng, name, value, pool) if isinstance(value, str) else _number_like(rng, value)
    return None if not new or str(new).lower() in text.lower() else new


def _text_like(rng: random.Random, name: str, value: str, pool: Pool) -> str:
    form = _form(value)
    akin = pool.values.get((_kind(name), form), ())
    if len(akin) >= _ENOUGH and rng.random() < _AKIN:
        return rng.choice(akin)
    return rng.choice(pool.values.get(("", form), ("",)))


_ENOUGH = 3
"""Texts of a kind to choose from; of fewer a policy would learn that there are no others."""
_AKIN = 0.9
"""Share of texts that are exchanged for one of their kind, where there are enough; a policy that met no others would go by what a
value is and not by where it stands."""


def _kind(name: str) -> str:
    """What a parameter holds: "city" for `to_city`, "hotel name" for `hotel_name`."""
    said = words(name)
    return "" if not said else " ".join(said[-2:]) if said[-1] in _SAY_LITTLE else said[-1]


_SAY_LITTLE = frozenset({"name", "id", "type", "code", "title", "number", "text", "value"})


def _number_like(rng: random.Random, value: float) -> float:
    """As many digits, another number."""
    if isinstance(value, int):
        digits = len(str(abs(value)))
        return rng.randint(2, 9) if digits == 1 else rng.randint(10 ** (digits - 1), 10**digits - 1)
    return round(rng.uniform(1, max(2.0, 2 * value)), 1)


def _plain(value: Any) -> str | int | float | None:
    """The one text or number that will do, where there is one."""
    values, _ = unwrap(value)
    if len(values) != 1 or isinstance(values[0], bool) or not isinstance(values[0], str | int | float):
        return None
    return values[0]


def _said(value: Any) -> str | None:
    """A value in the words of its user, where there is one writing of it."""
    plain = _plain(value)
    return None if plain is None else str(plain) or None


def _values(rows: Sequence[Row]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        for call in row.truth.tool_calls:
            properties = _parameters(row, call.name).get("properties", {})
            for name, value in call.arguments.items():
                if isinstance(value, str) and "enum" not in properties.get(name, {}) and (form := _form(value)):
                    found[_kind(name), form].add(value)
                    found["", form].add(value)
    return {key: sorted(values) for key, values in found.items()}


def _form(value: str) -> str:
    return next((name for name, pattern in _FORMS.items() if pattern.fullmatch(value)), "")


def _subject(row: Row) -> set[str]:
    """The tools that the truth is about."""
    return {call.name for call in row.truth.tool_calls} | {missing["tool"] for missing in row.truth.missing}


def _parameters(row: Row, tool: str) -> dict[str, Any]:
    return next(t["function"].get("parameters", {}) for t in row.tools if t["function"]["name"] == tool)


def _company(rng: random.Random, row: Row, pool: Pool, *, without: set[str], size: int) -> tuple[dict[str, Any], ...]:
    """`size` tools: some that were shown beside the subject, the others from the whole batch."""
    shown = [t for t in row.tools if t["function"]["name"] not in without]
    stay = rng.sample(shown, rng.randint(0, min(size, len(shown))))
    names = {t["function"]["name"] for t in shown} | without
    rest = [tool for name, tool in pool.tools.items() if name not in names]
    tools = [*stay, *rng.sample(rest, min(size - len(stay), len(rest)))]
    rng.shuffle(tools)
    return tuple(tools)


def derived(
    row: Row,
    kind: str,
    *,
    tools: tuple[dict[str, Any], ...] | None = None,
    text: str | None = None,
    truth: GroundTruth | None = None,
) -> Row:
    """A row that follows from another: of this kind, and with these tools, this last message or this truth in place of its own."""
    prompt = row.prompt if text is None else (*row.prompt[:-1], {**row.prompt[-1], "content": text})
    source = row.extra_info["id"]
    return row.model_copy(
        update={
            "prompt": prompt,
            "tools": row.tools if tools is None else tools,
            "reward_model": row.reward_model if truth is None else RewardModel(ground_truth=truth),
            "extra_info": {**row.extra_info, "id": f"{source}/{kind}", "variant": kind, "follows_from": source},
        }
    )
