"""Kinds of parameter: how each is named and typed, what its values look like, and how people say them.

A kind gives three things: a JSON schema, a value with the words that a user would write for it, and the cues that tie the
words to the parameter ("in {v}", "{v} nights", "{n} {v}"). Explicit cues name the parameter; implicit ones rely on its kind.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from learner.synth.lexicon import (
    ENUMS,
    MONTHS,
    PEOPLE,
    PLACES,
    PLAIN,
    UNITS,
    WORDS,
    ZONES,
    Side,
    pseudo_word,
    real_word,
)
from learner.synth.things import things

Spoken = tuple[Any, str]
"""A value as JSON, and as the user writes it."""


@dataclass(frozen=True)
class Parameter:
    name: str
    schema: dict[str, Any]
    required: bool
    cues: tuple[str, ...]
    """Templates with {v} (the value as spoken) and, where explicit, {n} (the name in words)."""
    speak: Callable[[random.Random], Spoken] = field(repr=False)
    flag: bool = False
    """A boolean said by mention: the cue carries the value and {v} is not used."""

    @property
    def words(self) -> str:
        return split_name(self.name)

    @property
    def is_plain(self) -> bool:
        """A text or a number, said as a value of its own."""
        return self.schema.get("type") in ("string", "integer", "number") and not self.flag


def split_name(name: str) -> str:
    """`fromZone`, `from_zone` and `from-zone` all read as "from zone"."""
    spaced = "".join(" " + c.lower() if c.isupper() else c for c in name)
    return " ".join(spaced.replace("_", " ").replace("-", " ").split())


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


EXPLICIT = (
    "{n} {v}",
    "with {n} {v}",
    "{n}: {v}",
    "{n}={v}",
    "{n} is {v}",
    "the {n} is {v}",
    "with {v} as the {n}",
    "{v} as {n}",
    "using {n} {v}",
    "set {n} to {v}",
    "and {n} {v}",
    "with a {n} of {v}",
    "for {n} {v}",
    "where {n} is {v}",
)


def word(rng: random.Random) -> str:
    """One value word: mostly invented."""
    draw = rng.random()
    if draw < 0.03:
        return _strange(rng)
    if draw < 0.7:
        found = pseudo_word(rng) if draw < 0.45 else rng.choice(WORDS)
        return found.capitalize() if rng.random() < 0.4 else found
    return rng.choice(rng.choice((PLAIN, PLAIN, PLACES, PEOPLE)))


def _strange(rng: random.Random) -> str:
    """A word of no language: to be copied letter by letter."""
    letters = "abcdefghijklmnopqrstuvwxyz" if rng.random() < 0.6 else "aaeeiioouulnrstkmäöüéèáíóñçøåæšžčłığő"
    return "".join(rng.choice(letters) for _ in range(rng.randint(4, 9)))


def phrase(rng: random.Random, low: int = 1, high: int = 3) -> Spoken:
    text = " ".join(word(rng) for _ in range(rng.randint(low, high)))
    return text, text


def quoted(rng: random.Random) -> Spoken:
    if rng.random() < 0.18:
        return _in_marks(rng, _title(rng))
    value, text = phrase(rng, 1, 4)
    mark = rng.choice(("'", '"', ""))
    return value, f"{mark}{text}{mark}"


def _title(rng: random.Random) -> str:
    """With marks of its own, as titles and names of firms have them."""
    first, second = phrase(rng, 1, 3)[0], phrase(rng, 1, 3)[0]
    number = rng.randint(2, 99)
    forms = ("{0}: {1}", "{0} & {1}", "{0}'s {1}", "{0}, {1}", "{0} {2}", "{0} ({1})", "{0}-{1}", "{0}!", "{0}?")
    return rng.choice((*forms, "The {0} of {1}", "{0} - {1}", "{0}/{1}", "{0} No. {2}")).format(first, second, number)


def _in_marks(rng: random.Random, text: str) -> Spoken:
    mark = '"' if "'" in text else rng.choice(("'", '"'))
    return text, f"{mark}{text}{mark}"


def sentence(rng: random.Random) -> Spoken:
    if rng.random() < 0.18:
        joint = rng.choice((", ", ". ", " and ", "! ", ", it's ", ": ", " - "))
        return _in_marks(rng, f"{phrase(rng, 2, 6)[0]}{joint}{phrase(rng, 2, 6)[0]}{rng.choice(('', '.', '!', '?'))}")
    value, text = phrase(rng, 2, 6)
    mark = rng.choice(("'", '"', "", ""))
    return value, f"{mark}{text}{mark}"


def place(rng: random.Random) -> Spoken:
    text = rng.choice(PLACES) if rng.random() < 0.3 else pseudo_word(rng).capitalize()
    draw = rng.random()
    if draw < 0.16:
        text = (_strange(rng) if draw < 0.04 else rng.choice(WORDS)).capitalize()
    if rng.random() < 0.15:
        text = f"{rng.choice(('New', 'Port', 'San', 'Lake', 'Upper'))} {text}"
    if rng.random() < 0.15:
        text = text.lower()
    return text, text


def person(rng: random.Random) -> Spoken:
    text = rng.choice(PEOPLE) if rng.random() < 0.3 else pseudo_word(rng).capitalize()
    if rng.random() < 0.3:
        text += " " + (_strange(rng) if rng.random() < 0.15 else pseudo_word(rng)).capitalize()
    return text, text


def code(rng: random.Random) -> Spoken:
    if rng.random() < 0.12:
        text = "".join(rng.choice(_ALPHANUMERIC) for _ in range(rng.randint(6, 12)))
        return text, text
    if rng.random() < 0.08:
        return sequence(rng)
    letters = "".join(rng.choice("ABCDEFGHKLMNPRSTUVWXYZ") for _ in range(rng.randint(1, 3)))
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 5)))
    text = rng.choice((f"{letters}-{digits}", f"{letters}{digits}", digits, f"{digits}{letters}"))
    return text, rng.choice((text, text, "#" + text)) if text[0].isalpha() else text


_ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def sequence(rng: random.Random) -> Spoken:
    """Long, of few signs, so that each stands in many places: what is copied is easily lost track of."""
    signs = rng.choice(("ACGT", "ACGU", "01", "0123456789", "0123456789abcdef", "ABCDEF0123456789"))
    text = "".join(rng.choice(signs) for _ in range(rng.randint(8, 22)))
    return text, text


def locator(rng: random.Random) -> Spoken:
    """A file or an address in the web."""
    names = [word(rng).lower() for _ in range(3)]
    ending = rng.choice(("txt", "pdf", "csv", "jpg", "mp3", "json", "docx", "py", "png"))
    text = rng.choice(
        (
            f"{names[0]}.{ending}",
            f"{names[0]}_{names[1]}.{ending}",
            f"/{names[0]}/{names[1]}",
            f"{names[0]}/{names[1]}.{ending}",
            f"https://www.{names[0]}.com/{names[1]}",
            f"www.{names[0]}.{rng.choice(('com', 'org', 'net'))}",
            f"https://{names[0]}.org/{names[1]}/{names[2]}",
        )
    ).replace(" ", "-")
    return text, text


def site(rng: random.Random) -> Spoken:
    """A house, a shop, a street: "Blue Harbour", "Mill Lane 12", "Stand 4"."""
    first = rng.choice((pseudo_word(rng), rng.choice(WORDS))).capitalize()
    last = rng.choice((pseudo_word(rng), rng.choice(WORDS))).capitalize()
    text = rng.choice(
        (
            first,
            f"{first} {last}",
            f"The {first}",
            f"{first} {last} {rng.randint(1, 60)}",
            f"{first} {rng.randint(1, 40)}",
        )
    )
    return text, text


def year(rng: random.Random) -> Spoken:
    value = rng.randint(1900, 2040)
    return value, str(value)


def email(rng: random.Random) -> Spoken:
    text = f"{pseudo_word(rng)}@{rng.choice((pseudo_word(rng), 'example', 'mail'))}.{rng.choice(('com', 'org', 'net'))}"
    return text, text


def integer(rng: random.Random) -> Spoken:
    value = rng.choice((rng.randint(1, 12), rng.randint(1, 100), rng.randint(100, 5000)))
    if rng.random() < 0.04:
        return rng.choice(((0, "0"), (-value, str(-value))))
    if value <= len(NUMBER_WORDS) and rng.random() < 0.25:
        return value, NUMBER_WORDS[value - 1]
    return _large(rng) if rng.random() < 0.08 else (value, str(value))


NUMBER_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def _large(rng: random.Random) -> Spoken:
    """A sum, a population: most often round, and with its thousands set apart."""
    value = rng.choice((rng.randint(10, 99) * 100, rng.randint(1, 999) * 1000, rng.randint(1000, 2_000_000)))
    return value, f"{value:,}" if rng.random() < 0.6 else str(value)


def number(rng: random.Random) -> Spoken:
    if rng.random() < 0.06:
        value = rng.choice((-rng.randint(1, 300), -round(rng.uniform(0.1, 99), 2), 0))
        return value, str(value)
    return _positive(rng)


def _positive(rng: random.Random) -> Spoken:
    draw = rng.random()
    if draw < 0.5:
        value = rng.choice((rng.randint(1, 20), rng.randint(1, 300), rng.randint(100, 9000)))
        return _large(rng) if rng.random() < 0.16 else (value, str(value))
    value = round(rng.uniform(0.1, rng.choice((10, 300))), rng.choice((1, 2)))
    return value, str(value)


def money(rng: random.Random) -> Spoken:
    value, text = _positive(rng)
    return value, rng.choice(("", "", "$", "€")) + text


def fraction(rng: random.Random) -> Spoken:
    """A rate, a share or a chance, of 1: most often said in percent."""
    percent = rng.choice(
        (rng.randint(1, 99), rng.randint(1, 20), 5 * rng.randint(1, 19), round(rng.uniform(0.2, 15), 1))
    )
    value = round(percent / 100, 6)
    return value, rng.choice((f"{percent}%", f"{percent}%", f"{percent}%", f"{percent} percent", f"{value}"))


def iso_date(rng: random.Random) -> Spoken:
    year = rng.randint(2024, 2028) if rng.random() < 0.8 else rng.randint(1930, 2023)
    month, day = rng.randint(1, 12), rng.randint(1, 28)
    value = f"{year}-{month:02d}-{day:02d}"
    if rng.random() < 0.5:
        return value, value
    name = MONTHS[month - 1]
    name = name if rng.random() < 0.7 else name[:3]
    nth = f"{day}{_NTH.get(day, 'th')}"
    forms = (f"{day} {name} {year}", f"{name} {day}, {year}", f"{name} {day} {year}")
    rarer = (
        f"{name} {nth}, {year}",
        f"{nth} of {name} {year}",
        f"{nth} {name} {year}",
        f"{year}/{month:02d}/{day:02d}",
    )
    return value, rng.choice((*forms, *forms, *rarer))


_NTH = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd"}


def day(rng: random.Random) -> Spoken:
    """A day as people name it, for tools that read it themselves."""
    week = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    text = rng.choice(
        (
            "today",
            "tomorrow",
            "tonight",
            "yesterday",
            f"next {rng.choice(week)}",
            f"this {rng.choice(week)}",
            rng.choice(week),
            f"in {rng.randint(2, 20)} days",
            "next week",
            "this weekend",
            f"{rng.randint(2, 9)} days ago",
            f"the {rng.randint(4, 20)}th",
        )
    )
    return text, text


_MEASURES = ("km", "kg", "m", "cm", "g", "litres", "miles", "hours", "mg", "feet", "%", "EUR", "USD", "GB")


def quantity(rng: random.Random) -> Spoken:
    """A number with its unit."""
    text = f"{_positive(rng)[0]}{rng.choice((' ', ' ', ''))}{rng.choice(_MEASURES)}"
    return text, text


def clock(rng: random.Random) -> Spoken:
    hour, minute = rng.randint(0, 23), rng.choice((0, 0, 15, 30, 45, rng.randint(0, 59)))
    if rng.random() < 0.6:
        text = f"{hour:02d}:{minute:02d}"
    else:
        text = f"{rng.randint(1, 12)}{rng.choice((':30', '', '', ':15'))}{rng.choice(('am', 'pm'))}"
    return text, text


def join_spoken(items: list[str], rng: random.Random) -> str:
    if len(items) == 1:
        return items[0]
    draw = rng.random()
    if draw < 0.45:
        return listed(items)
    if draw < 0.8:
        is_parted = draw < 0.7 or any(" " in item for item in items)
        return (", " if is_parted else " ").join(items)
    if draw < 0.86:  # "15,223" would be one number
        return ("," if not any(re.match(r"\d{3}(?!\d)", item) for item in items[1:]) else ", ").join(items)
    joint = rng.choice((", ", ","))
    mark = "" if all(item[-1].isdigit() for item in items) else rng.choice(("", "'", '"'))
    return "[" + joint.join(f"{mark}{item}{mark}" for item in items) + "]"


def list_of(speak: Callable[[random.Random], Spoken]) -> Callable[[random.Random], Spoken]:
    def spoken(rng: random.Random) -> Spoken:
        pairs = [speak(rng) for _ in range(rng.choice((1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 8)))]
        # among others a thousand is written as it is: its comma would be taken for the list's
        said = [text.replace(",", "") if len(pairs) > 1 else text for _, text in pairs]
        return [value for value, _ in pairs], join_spoken(said, rng)

    return spoken


def expression(rng: random.Random) -> Spoken:
    terms = [str(rng.randint(1, rng.choice((9, 99, 999)))) for _ in range(rng.randint(2, 4))]
    text = terms[0]
    gap = rng.choice(("", " "))
    for term in terms[1:]:
        text += f"{gap}{rng.choice('+-*/')}{gap}{term}"
    if rng.random() < 0.25:
        text = f"({text}){gap}*{gap}{rng.randint(2, 9)}"
    return text, text


def choose(options: tuple[str, ...]) -> Callable[[random.Random], Spoken]:
    def spoken(rng: random.Random) -> Spoken:
        value = rng.choice(options)
        return value, value

    return spoken


STRING: dict[str, Any] = {"type": "string"}
INTEGER: dict[str, Any] = {"type": "integer"}
NUMBER: dict[str, Any] = {"type": "number"}
BOOLEAN: dict[str, Any] = {"type": "boolean"}

Kind = tuple[tuple[str, ...], dict[str, Any], Callable[[random.Random], Spoken], tuple[str, ...]]
"""Names it goes by, schema, speaker, implicit cues."""

KINDS: tuple[Kind, ...] = (
    (
        (
            "title",
            "name",
            "label",
            "subject",
            "topic",
            "project",
            "team",
            "keyword",
            "brand",
            "model",
            "channel",
            "category",
            "playlist",
            "text",
        ),
        STRING,
        quoted,
        ("called {v}", "named {v}", "titled {v}", "about {v}", "{v}", "for {v}", "{v}"),
    ),
    (
        ("city", "location", "place", "region", "venue", "town", "country", "site", "address"),
        STRING,
        place,
        ("in {v}", "at {v}", "near {v}", "for {v}", "in {v}"),
    ),
    (
        (
            "person",
            "guest",
            "customer",
            "recipient",
            "assignee",
            "contact",
            "owner",
            "patient",
            "author",
            "driver",
            "player",
            "member",
            "artist",
            "composer",
            "teacher",
        ),
        STRING,
        person,
        ("for {v}", "with {v}", "to {v}", "by {v}", "by {v}", "of {v}", "{v}"),
    ),
    (
        (
            "shop",
            "hotel",
            "stop",
            "branch",
            "depot",
            "building",
            "street",
            "store",
            "club",
            "theatre",
            "hall",
            "garage",
        ),
        STRING,
        site,
        ("at {v}", "in {v}", "from {v}", "at {v}", "{v}", "{n} {v}"),
    ),
    (
        ("day", "when", "date", "deadline"),
        STRING,
        day,
        ("{v}", "{v}", "for {v}", "on {v}", "by {v}"),
    ),
    (
        ("amount", "distance", "weight", "dose", "length", "quantity", "volume", "duration"),
        STRING,
        quantity,
        ("{v}", "of {v}", "for {v}", "{n} {v}", "{v} {n}"),
    ),
    (("year", "since", "vintage", "season"), INTEGER, year, ("from {v}", "in {v}", "of {v}", "{v}", "{n} {v}")),
    (
        ("order_id", "ticket_id", "account", "reference", "item_id", "code", "number", "id", "room", "gate", "serial"),
        STRING,
        code,
        ("{v}", "number {v}", "id {v}", "ref {v}", "{n} {v}"),
    ),
    (
        ("file", "path", "url", "link", "document", "website", "image", "filename", "source", "page"),
        STRING,
        locator,
        ("{v}", "{v}", "of {v}", "from {v}", "in {v}", "at {v}"),
    ),
    (("email", "to", "address", "mail"), STRING, email, ("to {v}", "at {v}", "for {v}", "{v}")),
    (
        (
            "guests",
            "nights",
            "quantity",
            "copies",
            "limit",
            "seats",
            "people",
            "days",
            "pages",
            "count",
            "hours",
            "minutes",
            "points",
            "rounds",
            "years",
        ),
        INTEGER,
        integer,
        ("{v} {n}", "for {v} {n}", "{v} {n}", "with {v} {n}"),
    ),
    (
        (
            "weight",
            "distance",
            "value",
            "temperature",
            "volume",
            "rate",
            "score",
            "speed",
            "size",
        ),
        NUMBER,
        number,
        ("of {v}", "{v}", "for {v}", "{n} {v}", "at {v}"),
    ),
    (
        (
            "rate",
            "interest_rate",
            "annual_rate",
            "growth_rate",
            "discount_rate",
            "tax_rate",
            "annual_return",
            "rate_of_return",
            "inflation",
            "probability",
            "confidence_level",
            "efficiency",
            "yield",
            "share",
        ),
        NUMBER,
        fraction,
        ("at {v}", "of {v}", "{v} {n}", "with {v}", "{n} {v}", "a {n} of {v}", "{v}"),
    ),
    (("amount", "price", "budget", "total"), NUMBER, money, ("of {v}", "{v}", "for {v}", "{n} {v}", "at {v}")),
    (
        ("date", "day", "due", "start_date", "deadline", "departure", "check_in", "birthday", "when"),
        {"type": "string", "format": "date"},
        iso_date,
        ("on {v}", "for {v}", "by {v}", "{v}", "due {v}"),
    ),
    (("time", "start_time", "at", "hour", "slot"), STRING, clock, ("at {v}", "for {v}", "from {v}", "{v}")),
    (
        ("message", "body", "text", "content", "note", "comment", "description", "question", "reason", "query"),
        STRING,
        sentence,
        ("saying {v}", "that says {v}", ": {v}", "to say {v}", "with the text {v}", "{v}", "about {v}"),
    ),
    (
        ("tags", "items", "names", "topics", "words", "ingredients", "members", "attendees", "colors", "labels"),
        {"type": "array", "items": STRING},
        list_of(lambda rng: (lambda w: (w, w))(word(rng))),
        ("{v}", "with {v}", "{n} {v}", "for {v}", "of {v}"),
    ),
    (
        ("teams", "parties", "players", "people", "participants", "rivals", "suspects", "guests"),
        {"type": "array", "items": STRING},
        list_of(person),
        ("between {v}", "{v}", "for {v}", "of {v}", "with {v}"),
    ),
    (
        ("numbers", "values", "scores", "prices", "samples", "data", "readings", "weights"),
        {"type": "array", "items": NUMBER},
        list_of(number),
        ("of {v}", "{v}", "for {v}", "{n} {v}", "{v}"),
    ),
    (("expression", "formula", "sum"), STRING, expression, ("{v}", "of {v}", "{v}")),
)

PAIRS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "from_{x}",
        "to_{x}",
        ("from {0} to {1}", "{0} to {1}", "{0} into {1}", "{0} in {1}", "from {0} into {1}", "to {1} from {0}"),
    ),
    ("source_{x}", "target_{x}", ("from {0} to {1}", "{0} into {1}", "{0} to {1}")),
    ("origin", "destination", ("from {0} to {1}", "to {1} from {0}", "between {0} and {1}", "{0} to {1}")),
    ("start", "end", ("from {0} to {1}", "between {0} and {1}", "starting {0} and ending {1}", "{0} until {1}")),
    ("sender", "receiver", ("from {0} to {1}", "to {1} from {0}")),
)


_THINGS = 0.25
"""Share of familiar parameters whose values are things of one kind, told by what they mean ("Thai", "vegan")."""


def _plural(name: str) -> str:
    if name.endswith("s"):
        return name
    return f"{name[:-1]}ies" if name.endswith("y") and name[-2] not in "aeiou" else f"{name}s"


def _thing(rng: random.Random) -> Kind:
    names, known = rng.choice(things())
    if rng.random() < 0.12:
        several = list_of(choose(known))
        return tuple(map(_plural, names)), {"type": "array", "items": STRING}, several, ("{v}", "with {v}")
    return names, STRING, choose(known), ("{v}", "{v}", "{v}", "in {v}", "for {v}", "with {v}", "of {v}")


def plain_parameter(rng: random.Random, required: bool, taken: set[str]) -> Parameter:
    """A parameter of a familiar kind, under one of its usual names."""
    while True:
        names, schema, speak, cues = _thing(rng) if rng.random() < _THINGS else rng.choice(KINDS)
        name = rng.choice(names)
        if name not in taken:
            return Parameter(name, dict(schema), required, (*cues, *cues, *EXPLICIT), speak)


def invented_parameter(rng: random.Random, required: bool, side: Side) -> Parameter:
    """A pseudo-word parameter, which only explicit cues can tie to its value."""
    name = pseudo_word(rng, side) if rng.random() < 0.6 else real_word(rng, side)
    if rng.random() < 0.3:
        name = f"{name}_{rng.choice(('id', 'name', 'level', 'code', 'type', 'value', real_word(rng, side)))}"
    schema, speak = rng.choice(
        (
            (STRING, quoted),
            (STRING, phrase),
            (STRING, code),
            (STRING, person),
            (INTEGER, integer),
            (NUMBER, number),
            ({"type": "string", "format": "date"}, iso_date),
            ({"type": "array", "items": STRING}, list_of(lambda rng: (lambda w: (w, w))(word(rng)))),
            ({"type": "array", "items": NUMBER}, list_of(number)),
        )
    )
    cues = EXPLICIT if speak not in (integer, number) else (*EXPLICIT, "{v} {n}", "{v} {n}")
    return Parameter(name, dict(schema), required, cues, speak)


def nested_parameter(rng: random.Random, required: bool, taken: set[str]) -> Parameter:
    """An object of two or three plain values, or a list of such."""
    parts: dict[str, Parameter] = {}
    count = rng.choice((2, 2, 3))
    while len(parts) < count:
        part = plain_parameter(rng, not parts or rng.random() < 0.7, set(parts))
        if part.is_plain:
            parts[part.name] = part
    names = ("address", "contact", "options", "filter", "item", "range", "settings", "details", "budget", "size")
    free = [name for name in names if name not in taken]
    name = rng.choice(free) if free and rng.random() < 0.7 else pseudo_word(rng)
    schema = {
        "type": "object",
        "properties": {part.name: part.schema for part in parts.values()},
        "required": [part.name for part in parts.values() if part.required],
    }

    def speak(rng: random.Random) -> Spoken:
        given = [part for part in parts.values() if part.required or rng.random() < 0.6]
        spoken = {part.name: part.speak(rng) for part in given}
        said = [f"{part.words} {spoken[part.name][1]}" for part in given]
        return {name: value for name, (value, _) in spoken.items()}, rng.choice((", ", " and ", " ")).join(said)

    if rng.random() < 0.75:
        return Parameter(name, schema, required, EXPLICIT, speak)

    def speak_list(rng: random.Random) -> Spoken:
        spoken = [speak(rng) for _ in range(rng.choice((1, 2, 2, 3)))]
        return [value for value, _ in spoken], rng.choice(("; ", ", then ", " and also ")).join(s for _, s in spoken)

    return Parameter(f"{name}s", {"type": "array", "items": schema}, required, EXPLICIT, speak_list)


def enum_parameter(rng: random.Random, required: bool, taken: set[str], side: Side) -> Parameter:
    invented = rng.random() < 0.5
    options = (
        tuple(dict.fromkeys(pseudo_word(rng) for _ in range(rng.randint(2, 4)))) if invented else rng.choice(ENUMS)
    )
    names = [
        "mode",
        "type",
        "kind",
        "level",
        "format",
        "status",
        "priority",
        "style",
        "option",
        "measure",
        "unit",
        "size",
        "class",
    ]
    name = rng.choice([n for n in names if n not in taken]) if rng.random() < 0.7 else pseudo_word(rng, side)
    cues = (
        "{v}",
        "{v} {n}",
        "in {v}",
        "as {v}",
        "{n} {v}",
        "{v}",
        "in {v} {n}",
        "with {v} {n}",
        "the {v} one",
        "{n}: {v}",
    )
    return Parameter(name, {"type": "string", "enum": list(options)}, required, cues, choose(options))


def flag_parameter(rng: random.Random, taken: set[str], side: Side) -> Parameter:
    names = [
        "urgent",
        "notify",
        "public",
        "recursive",
        "dry_run",
        "detailed",
        "insured",
        "gift_wrap",
        "breakfast",
        "refundable",
        "silent",
    ]
    free = [n for n in names if n not in taken]
    name = rng.choice(free) if rng.random() < 0.6 else pseudo_word(rng, side)

    def speak(rng: random.Random) -> Spoken:
        on = rng.random() < 0.6
        words = split_name(name)
        if on:
            return True, rng.choice(
                (f"with {words}", f"{words} on", f"and {words}", f"make it {words}", f"{words}: yes", f"{words} true")
            )
        return False, rng.choice(
            (f"without {words}", f"{words} off", f"no {words}", f"not {words}", f"{words}: no", f"{words} false")
        )

    return Parameter(name, dict(BOOLEAN), False, ("{v}",), speak, flag=True)


def pair_parameters(rng: random.Random) -> tuple[tuple[Parameter, Parameter], tuple[str, ...]]:
    """Two parameters that are said together, such as "from A to B", and cues for both, with {0} and {1}."""
    first, second, cues = rng.choice(PAIRS)
    x, speak = rng.choice(
        (
            ("unit", choose(tuple(UNITS))),
            ("zone", choose(tuple(ZONES))),
            ("city", place),
            ("language", choose(ENUMS[25])),
            ("currency", choose(tuple(UNITS[-4:]))),
            ("account", code),
            ("folder", phrase),
            ("zone", place),
            ("unit", phrase),
            (pseudo_word(rng), phrase),
            ("format", phrase),
        )
    )
    if first == "start":
        speak = rng.choice((clock, iso_date, place, integer))
    if first == "sender":
        speak = person
    if first == "origin":
        speak = place
    schema = (
        dict(INTEGER)
        if speak is integer
        else {"type": "string", "format": "date"}
        if speak is iso_date
        else dict(STRING)
    )
    left = Parameter(first.format(x=x), schema, True, ("from {v}", "{n} {v}"), speak)
    right = Parameter(second.format(x=x), dict(schema), True, ("to {v}", "{n} {v}"), speak)
    return (left, right), cues


def series_parameters(rng: random.Random, side: Side) -> tuple[tuple[Parameter, ...], tuple[str, ...]]:
    """Two to four parameters of one kind that are said one after the other, as in "a triangle with sides 3, 4 and 5", and cues for
    all of them, with {0}, {1} and so on."""
    words, schema, speak = rng.choice(_SERIES)
    word = rng.choice((*words, pseudo_word(rng, side), real_word(rng, side)))
    form = rng.choice(("{word}{number}", "{word}_{number}", "{word}_{letter}", "{nth}_{word}", "{letter}", "{axis}"))
    count = rng.choice((2, 2, 3, 3, 4))
    names = [
        form.format(word=word, number=at + 1, letter="abcd"[at], axis="xyzw"[at], nth=_ORDINALS[at])
        for at in range(count)
    ]
    alone = ("{n} = {v}", "{n} is {v}", "{n}: {v}", "{n}={v}")
    named = "{word}" in form
    single = (*alone, "{n} {v}", "with {n} {v}") if named else alone
    parameters = tuple(Parameter(name, dict(schema), True, single, speak) for name in names)
    places = [f"{{{at}}}" for at in range(count)]
    together = (listed(places), listed(places), ", ".join(places), " and ".join(places), f"({', '.join(places)})")
    plural = f"{word}s"
    heads = ("{0}", "of {0}", "given {0}", "for {0}")
    heads += ("{1} {0}", "with {1} {0}", "of {1} {0}", "the {1} {0}", "with {0} as {1}") if named else ()
    return parameters, tuple(head.format(all_of_them, plural) for all_of_them in together for head in heads)


_ORDINALS = ("first", "second", "third", "fourth")


def _short(rng: random.Random) -> Spoken:
    value = rng.choice((rng.randint(1, 20), rng.randint(1, 20), rng.randint(20, 999)))
    return value, str(value)


def _decimal(rng: random.Random) -> Spoken:
    value = rng.choice((rng.randint(1, 99), round(rng.uniform(0.1, 50), 1)))
    return value, str(value)


_SERIES: tuple[tuple[tuple[str, ...], dict[str, Any], Callable[[random.Random], Spoken]], ...] = (
    (("side", "point", "score", "item"), INTEGER, _short),
    (("side", "value", "length", "weight"), NUMBER, _decimal),
    (("sample", "reading", "term", "angle"), NUMBER, _decimal),
    (("stop", "town", "station"), STRING, place),
    (("player", "team", "member"), STRING, person),
)
