"""Does an argument value come from what the policy was shown, or did it make the value up?

The sources are those of `runtime.verify.sources`. A value is grounded when

- it equals the schema's `default` or `const`, or is the only member of its `enum`;
- string: its words stand in one source in that order and next to one another, whatever their case, spacing, hyphens,
  underscores and edge punctuation ("project-alpha", "Project Alpha"); between two or more words there may be up to three
  others, negations excepted, and articles and the like don't count; a single letter must agree in case;
- enum: as a string, or the words that tell it from the other members are all said and not negated ("high" or "highest"
  for `priority_high` beside `priority_low`);
- number, or a string that writes one: some source states it, in figures or in words (`runtime.verify.mentions`);
  figures within dates and clock times count only for parameters named for parts of these;
- date, time or both in ISO form without a zone: the day and the time are stated; days relative to today are counted
  from the only day that the system message names, else the only one in tool results, else the day of the turn;
- boolean: the parameter's name is said: true plainly ("make it urgent"), false negated ("without sound", "sound: off");
  or the user answered no to a question that names it;
- array and object: all members are grounded, and there is at least one;
- null: the schema allows it.

It errs towards "made up": an ungrounded value costs a trace, a wrong truth costs the model.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from runtime.verify.sources import Context, split, words

_MAX_GAP = 3
_MAX_DEPTH = 8

_STOPWORDS = frozenset(
    {
        "a",
        "an",
        "and",
        "at",
        "for",
        "in",
        "is",
        "it",
        "me",
        "my",
        "of",
        "on",
        "our",
        "please",
        "some",
        "that",
        "the",
        "this",
        "to",
        "with",
    }
)
_NEGATIONS = frozenset(
    {
        "no",
        "not",
        "without",
        "never",
        "don",
        "dont",
        "doesn",
        "won",
        "can",
        "cannot",
        "skip",
        "exclude",
        "except",
        "disable",
        "nor",
        "minus",
    }
)
_OFF = frozenset({"off", "no", "false"})
_FLAG_WORDS = frozenset(
    {
        "is",
        "has",
        "have",
        "use",
        "with",
        "should",
        "allow",
        "enable",
        "enabled",
        "include",
        "included",
        "flag",
        "only",
        "do",
        "be",
        "set",
        "show",
    }
)
_CALENDAR_WORDS = frozenset({"date", "day", "month", "year", "time", "hour", "minute"})

_NAME_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
_ISO = re.compile(r"(?P<day>\d{4}-\d\d-\d\d)?(?P<mark>[T ])?(?P<time>\d\d:\d\d)?(?P<seconds>:00(\.0+)?)?")


def ungrounded(arguments: Mapping[str, Any], parameters: Mapping[str, Any], context: Context) -> tuple[str, ...]:
    """Names of the arguments whose values do not come from the context.

    Args:
        arguments: of one call.
        parameters: the tool's JSON schema.
        context: what the policy was shown when it made the call.
    """
    properties = _properties(parameters)
    return tuple(
        name
        for name, value in arguments.items()
        if not is_grounded(value, properties.get(name, {}), context, name=name, root=parameters)
    )


def is_grounded(
    value: Any, schema: Any, context: Context, *, name: str = "", root: Mapping[str, Any] | None = None
) -> bool:
    """Whether one value comes from the context; `name` is its parameter's, `root` is what `$ref` points into."""
    branches = [*_branches(schema, root or {}, _MAX_DEPTH)]
    if any(_is_given(value, branch) for branch in branches):
        return True
    match value:
        case None:
            return any("null" in _types(branch) for branch in branches)
        case bool():
            return _boolean_grounded(value, name, context)
        case int() | float():
            return _number_grounded(str(value), name, context)
        case str():
            members = [member for branch in branches for member in _listed(branch, "enum") if isinstance(member, str)]
            return _string_grounded(value, name, context) or (bool(members) and _enum_grounded(value, members, context))
        case list():
            items = [branch["items"] for branch in branches if isinstance(branch.get("items"), Mapping)]
            inner = {"anyOf": items} if items else {}
            return bool(value) and all(is_grounded(item, inner, context, name=name, root=root) for item in value)
        case dict():
            return bool(value) and _members_grounded(value, branches, context, root)
    return False


def _members_grounded(
    value: Mapping[str, Any], branches: Sequence[Mapping[str, Any]], context: Context, root: Mapping[str, Any] | None
) -> bool:
    properties: dict[str, Any] = {}
    for branch in branches:
        properties |= _properties(branch)
    return all(
        is_grounded(member, properties.get(key, {}), context, name=key, root=root) for key, member in value.items()
    )


def _branches(schema: Any, root: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    """The schema and all that it is composed of."""
    if not isinstance(schema, Mapping) or depth == 0:
        return
    yield schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        target: Any = root
        for part in reference[2:].split("/"):
            target = target.get(part) if isinstance(target, Mapping) else None
        yield from _branches(target, root, depth - 1)
    for keyword in ("anyOf", "oneOf", "allOf"):
        for inner in _listed(schema, keyword):
            yield from _branches(inner, root, depth - 1)


def _types(schema: Mapping[str, Any]) -> Sequence[Any]:
    declared = schema.get("type")
    return [declared] if isinstance(declared, str) else _listed(schema, "type")


def _listed(schema: Mapping[str, Any], keyword: str) -> Sequence[Any]:
    """A keyword's list. Schemas that clients send were never checked, so it may be anything."""
    value = schema.get(keyword)
    return value if isinstance(value, list | tuple) else ()


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    value = schema.get("properties")
    return value if isinstance(value, Mapping) else {}


def _is_given(value: Any, schema: Mapping[str, Any]) -> bool:
    fixed = [schema[keyword] for keyword in ("default", "const") if keyword in schema]
    members = _listed(schema, "enum")
    if len(members) == 1:
        fixed.append(members[0])
    return any(same_json(value, each) for each in fixed)


def same_json(a: Any, b: Any) -> bool:
    """Equality of JSON values: 1 equals 1.0, but not true."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same_json(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same_json(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def _number_grounded(written: str, name: str, context: Context) -> bool:
    try:
        number = Decimal(written)
    except InvalidOperation:
        return False
    is_calendar = not _CALENDAR_WORDS.isdisjoint(_name_words(name))
    return number in (context.calendar_numbers if is_calendar else context.numbers)


def _string_grounded(value: str, name: str, context: Context) -> bool:
    own = words(value)
    if not own:
        return False
    if len(own) == 1 and len(own[0]) == 1 and own[0].isalpha():
        return split(value)[0] in context.letters
    target = _join(own)
    return (
        any(_stands_in(target, source) for source in context.words)
        or any(_reads_through(own, source) for source in context.words)
        or (bool(_PLAIN_NUMBER.fullmatch(value.strip())) and _number_grounded(value.strip(), name, context))
        or _instant_grounded(value.strip(), context)
    )


def _instant_grounded(value: str, context: Context) -> bool:
    match = _ISO.fullmatch(value)
    if not match or not (match["day"] or match["time"]) or (match["seconds"] and not match["time"]):
        return False
    if bool(match["mark"]) != bool(match["day"] and match["time"]):
        return False
    try:
        day = date.fromisoformat(match["day"]) if match["day"] else None
        moment = datetime.strptime(match["time"], "%H:%M") if match["time"] else None
    except ValueError:
        return False
    if day is not None and day not in context.days:
        return False
    if moment is None or (moment.hour, moment.minute) in context.times:
        return True
    return day is not None and (moment.hour, moment.minute) == (0, 0) and not context.times


def _enum_grounded(value: str, members: Sequence[str], context: Context) -> bool:
    """The words that tell the value from the other members are all said by one source, and not negated."""
    own = _name_words(value)
    others = [set(_name_words(member)) for member in members if member != value]
    telling = [word for word in own if not any(word in other for other in others)] or list(own)
    return bool(telling) and any(all(_says(source, word) for word in telling) for source in context.words)


def _boolean_grounded(value: bool, name: str, context: Context) -> bool:
    telling = [word for word in _name_words(name) if word not in _FLAG_WORDS]
    if not telling:
        return False
    negated = [any(_says(source, word, negated=True) for word in telling) for source in context.said_words]
    if value:
        plain = [any(_says(source, word) for word in telling) for source in context.said_words]
        return any(is_plain and not is_negated for is_plain, is_negated in zip(plain, negated, strict=True))
    denied = [words(text) for text in context.denied]
    return any(negated) or any(_says(source, word) for source in denied for word in telling)


def is_said(name: str, text: str) -> bool:
    """Whether a text has any word of an identifier, in this or a kindred form."""
    source = words(text)
    return any(_kindred(part, word) for part in _name_words(name) for word in source)


def _says(source: Sequence[str], word: str, *, negated: bool = False) -> bool:
    """Whether the source has the word, in this or a kindred form, plainly or negated ("without it", "it: no")."""
    for place, other in enumerate(source):
        if _kindred(word, other):
            before, after = source[max(0, place - 3) : place], source[place + 1 : place + 2]
            if (not _NEGATIONS.isdisjoint(before) or not _OFF.isdisjoint(after)) == negated:
                return True
    return False


def _kindred(a: str, b: str) -> bool:
    shorter, longer = sorted((a, b), key=len)
    return a == b or (len(shorter) >= 4 and longer.startswith(shorter) and len(longer) - len(shorter) <= 3)


def _stands_in(target: str, source: Sequence[str]) -> bool:
    """Whether consecutive words of the source, joined, are the target."""
    for start in range(len(source)):
        joined = ""
        for word in source[start:]:
            joined = _glue(joined, word)
            if joined == target:
                return True
            if not target.startswith(joined):
                break
    return False


def _reads_through(words: Sequence[str], source: Sequence[str]) -> bool:
    """Whether the content words stand in the source in order, with few and harmless words between neighbours."""
    content = [word for word in words if word not in _STOPWORDS]
    if len(content) < 2:
        return False
    starts = [place for place, word in enumerate(source) if word == content[0]]
    return any(_follows(content[1:], source, start) for start in starts)


def _follows(content: Sequence[str], source: Sequence[str], place: int) -> bool:
    for word in content:
        for step in range(1, _MAX_GAP + 2):
            if place + step >= len(source) or source[place + step] in _NEGATIONS - {word}:
                return False
            if source[place + step] == word:
                place += step
                break
        else:
            return False
    return True


def _name_words(name: str) -> tuple[str, ...]:
    """Words of an identifier: `max_results`, `maxResults`, `max-results`."""
    return tuple(part.lower() for part in _NAME_PARTS.findall(name)) or words(name)


def _join(words: Iterable[str]) -> str:
    joined = ""
    for word in words:
        joined = _glue(joined, word)
    return joined


def _glue(joined: str, word: str) -> str:
    """Joins two words; figures stay apart, so that 10-20 is not 1020."""
    is_figures = joined[-1:].isdigit() and word[:1].isdigit()
    return f"{joined}·{word}" if is_figures else joined + word
