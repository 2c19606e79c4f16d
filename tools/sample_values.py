"""Values for a tool's parameters, as a user might give them: from its examples, its schema and the names of its parameters. Pure.

What cannot be made up, such as text of a pattern that no example shows, is `None`; the caller does without it.
"""

import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tools.examples import ExecuteExample
from tools.likeness import words
from tools.spec import ToolSpec

_MAX_DEPTH = 3
"""Levels of objects and lists that are filled."""

_TEXT = {
    "email": ("mira@example.com", "j.okafor@example.org", "lena.berg@example.net"),
    "phone": ("+47 22 33 44 55", "+1 202 555 0143", "+44 20 7946 0018"),
    "city": ("Oslo", "Lima", "Nairobi", "Kyoto", "Porto"),
    "country": ("Norway", "Peru", "Kenya", "Japan", "Portugal"),
    "origin": ("Oslo", "Lima", "Kyoto"),
    "destination": ("Nairobi", "Porto", "Hanoi"),
    "location": ("Oslo", "the old harbour", "Porto"),
    "address": ("14 Mill Lane", "3 Station Road", "27 Quay Street"),
    "name": ("Mira Solberg", "Jonas Okafor", "Lena Berg"),
    "language": ("Norwegian", "Spanish", "Swahili"),
    "currency": ("NOK", "EUR", "JPY"),
    "date": ("2026-03-14", "2026-11-02", "2027-01-20"),
    "zone": ("Europe/Oslo", "America/Lima", "Asia/Tokyo"),
    "timezone": ("Europe/Oslo", "America/Lima", "Africa/Nairobi"),
    "unit": ("kilometre", "pound", "litre", "inch"),
    "day": ("Monday", "Thursday", "Saturday"),
    "month": ("March", "July", "November"),
    "time": ("09:30", "14:15", "18:45"),
    "title": ("The Long Winter", "Notes on Water", "Second Harvest"),
    "subject": ("the spring meeting", "an open invoice", "the new schedule"),
    "message": ("See you at noon", "The parcel has arrived", "Please call me back"),
    "text": ("See you at noon", "The parcel has arrived", "Please call me back"),
    "color": ("green", "dark blue", "red"),
    "colour": ("green", "dark blue", "red"),
    "url": ("https://example.com/page", "https://example.org/list"),
    "id": ("A-1042", "K-3307", "Z-0918"),
    "code": ("QX71", "BR20", "LM48"),
    "number": ("4471", "2086", "7350"),
}
"""By a word of the parameter's name, the last one that is known."""
_FORMATS = {
    "date": ("2026-03-14", "2026-11-02", "2027-01-20"),
    "date-time": ("2026-03-14T09:30:00Z", "2026-11-02T14:15:00Z", "2027-01-20T18:45:00Z"),
    "time": ("09:30:00Z", "14:15:00Z", "18:45:00Z"),
    "duration": ("PT30M", "PT2H", "P1D"),
    "email": _TEXT["email"],
    "uri": _TEXT["url"],
    "url": _TEXT["url"],
    "hostname": ("example.com", "example.org"),
    "ipv4": ("192.0.2.17", "198.51.100.4"),
    "ipv6": ("2001:db8::17", "2001:db8::4"),
    "uuid": ("5f0c1f9e-7d4e-4d6c-9a59-0c6a2f6f1b11", "0b6f3a52-2c1d-4a8e-8f57-9e1d7c3b5a20"),
}
_ANYTHING = ("Northwind", "blue harbour", "Orion", "cedar", "Halvorsen", "amber gate")
_RANGES = {
    "latitude": (-80, 80),
    "longitude": (-170, 170),
    "year": (2020, 2030),
    "month": (1, 12),
    "day": (1, 28),
    "hour": (0, 23),
    "minutes": (5, 90),
    "percent": (1, 100),
    "price": (5, 300),
    "amount": (5, 300),
}
_PLAIN_RANGE = (1, 20)


class Sampler:
    """Draws values for the parameters of one tool."""

    def __init__(self, spec: ToolSpec, rng: random.Random) -> None:
        self._root = spec.parameters
        self._rng = rng
        self._shown: defaultdict[str, list[Any]] = defaultdict(list)
        for example in spec.examples:
            if isinstance(example, ExecuteExample):
                for name, value in example.arguments.items():
                    self._shown[name].append(value)

    def argument(self, name: str) -> Any:
        """A value of a parameter of the tool; None: none can be made up."""
        properties = self._root.get("properties", {})
        return self._value(name, properties.get(name, {}), self._shown.get(name, ()), 0)

    def _value(self, name: str, schema: Any, shown: Sequence[Any], depth: int) -> Any:
        shape = self._resolved(schema)
        given = [value for value in (*shown, *_list(shape.get("examples"))) if value is not None]
        if "const" in shape:
            return shape["const"]
        if options := [value for value in _list(shape.get("enum")) if value is not None]:
            return self._rng.choice(options)
        if given and (self._rng.random() < 0.5 or "pattern" in shape):
            return self._rng.choice(given)
        match _kind(shape):
            case "string":
                return self._text(name, shape)
            case "integer" | "number" as kind:
                return self._number(name, shape, whole=kind == "integer")
            case "boolean":
                return self._rng.choice((True, False))
            case "array" if depth < _MAX_DEPTH:
                return self._several(name, shape, depth)
            case "object" if depth < _MAX_DEPTH:
                return self._object(shape, depth)
        return self._rng.choice(given) if given else None

    def _text(self, name: str, shape: Mapping[str, Any]) -> str | None:
        known = next((_TEXT[word] for word in reversed(words(name)) if word in _TEXT), _ANYTHING)
        candidates = list(_FORMATS.get(str(shape.get("format")), known))
        if isinstance(pattern := shape.get("pattern"), str):
            candidates = [text for text in _of_all() if _matches(pattern, text)]
        least, most = shape.get("minLength", 0), shape.get("maxLength", 10_000)
        fitting = [text for text in candidates if least <= len(text) <= most]
        return self._rng.choice(fitting) if fitting else None

    def _number(self, name: str, shape: Mapping[str, Any], *, whole: bool) -> float | None:
        low, high = next((_RANGES[word] for word in reversed(words(name)) if word in _RANGES), _PLAIN_RANGE)
        step = shape.get("multipleOf") or (1 if whole else 0.5)
        least = shape.get("minimum", shape["exclusiveMinimum"] + step if "exclusiveMinimum" in shape else None)
        most = shape.get("maximum", shape["exclusiveMaximum"] - step if "exclusiveMaximum" in shape else None)
        if least is not None and not least <= low <= (most if most is not None else low):
            low, high = least, max(high, least + 10 * step)
        if most is not None and high > most:
            low, high = (low if low <= most else most - 10 * step), most
        if least is not None:
            low = max(low, least)
        first, last = -(-low // step), high // step
        if last < first and least is not None and most is not None:  # no multiple among the usual values
            first, last = -(-least // step), most // step
        if last < first:
            return None
        value = self._rng.randint(int(first), int(last)) * step
        return int(value) if whole or value == int(value) else round(value, 6)

    def _several(self, name: str, shape: Mapping[str, Any], depth: int) -> list[Any] | None:
        least, most = shape.get("minItems", 1), shape.get("maxItems", 10)
        count = max(least, min(most, self._rng.randint(1, 2)))
        distinct: dict[str, Any] = {}
        for _ in range(4 * count):
            value = self._value(name, shape.get("items", {}), (), depth + 1)
            if value is not None and len(distinct) < count:
                distinct[repr(value)] = value
        return list(distinct.values()) if distinct and len(distinct) >= least else None

    def _object(self, shape: Mapping[str, Any], depth: int) -> dict[str, Any] | None:
        properties = shape.get("properties", {})
        made = {
            name: self._value(name, properties.get(name, {}), (), depth + 1)
            for name in shape.get("required", ()) or list(properties)[:1]
        }
        return None if not made or any(value is None for value in made.values()) else made

    def _resolved(self, schema: Any) -> Mapping[str, Any]:
        """The schema with a local reference followed, the first form of several taken, `allOf` merged."""
        shape: Mapping[str, Any] = schema if isinstance(schema, Mapping) else {}
        for _ in range(8):  # a chain of references that long leads nowhere
            if isinstance(reference := shape.get("$ref"), str):
                shape = _lookup(self._root, reference)
            elif forms := [f for key in ("anyOf", "oneOf") for f in _list(shape.get(key)) if not _is_null(f)]:
                rest = {key: value for key, value in shape.items() if key not in ("anyOf", "oneOf")}
                shape = {**rest, **forms[0]} if isinstance(forms[0], Mapping) else rest
            elif parts := [part for part in _list(shape.get("allOf")) if isinstance(part, Mapping)]:
                rest = {key: value for key, value in shape.items() if key != "allOf"}
                shape = {key: value for part in (*parts, rest) for key, value in part.items()}
            else:
                return shape
        return {}


def spoken(value: Any) -> str | None:
    """A value as a user says it; None: too tangled to be said."""
    match value:
        case bool():
            return "yes" if value else "no"
        case str():
            return value or None
        case int() | float():
            return str(value)
        case [*parts] if parts and all(isinstance(part, str | int | float) for part in parts):
            said = [str(spoken(part)) for part in parts]
            return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
        case {**members} if members and all(isinstance(member, str | int | float) for member in members.values()):
            return ", ".join(f"{label(name)} {spoken(member)}" for name, member in members.items())
    return None


def label(name: str) -> str:
    """A parameter's name as a user says it."""
    return " ".join(words(name)) or name


def _kind(shape: Mapping[str, Any]) -> str:
    kind = shape.get("type")
    if isinstance(kind, list | tuple):
        kind = next((part for part in kind if part != "null"), None)
    if kind is None:
        kind = "object" if "properties" in shape else "array" if "items" in shape else "string"
    return str(kind)


def _lookup(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    node: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        node = node.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(node, Mapping) else {}
    return node if reference.startswith("#") and isinstance(node, Mapping) else {}


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:  # JSON Schema's dialect is ECMA's, which has what Python's has not
        return False


def _of_all() -> list[str]:
    return [text for pool in (*_TEXT.values(), *_FORMATS.values(), _ANYTHING) for text in pool]


def _is_null(form: Any) -> bool:
    return isinstance(form, Mapping) and form.get("type") == "null"


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
