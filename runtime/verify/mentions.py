"""Which numbers, days and clock times a text states.

Readings are conservative: where a writing has two readings ("03/05/2026", "next Monday" said on a Sunday), it states
nothing. English only.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import TypeAlias

ClockTime: TypeAlias = tuple[int, int]
"""Hour (0-23) and minute."""

_UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_SMALL = {word: value for value, word in enumerate(_UNITS)} | {"once": 1, "twice": 2}
_TENS = {
    word: value * 10
    for value, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2
    )
}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "k": 1000, "million": 10**6, "billion": 10**9}

_NUMBER = re.compile(
    r"(?<![\w.])(?P<number>[-+]?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:e[-+]?\d{1,3})?)"
    r"(?P<percent>\s?%)?(?:\s?(?P<scale>k|dozen|hundred|thousand|million|billion)\b)?"
)
_WORD = re.compile(r"[a-z]+")

_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH = {name: number for number, name in enumerate(_MONTHS, start=1)}
_MONTH |= {name[:3]: number for name, number in _MONTH.items()} | {"sept": 9}
_MONTH_NAME = "|".join(sorted(_MONTH, key=len, reverse=True))
_DAY = r"(?P<day>[0-3]?\d)(?:st|nd|rd|th)?"
_YEAR = r"(?:,?\s+(?P<year>\d{4}))?\b"
_ISO_DAY = re.compile(r"(?<!\d)(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})(?!\d)")
_MONTH_DAY = re.compile(rf"\b(?P<month>{_MONTH_NAME})\.?\s+(?:the\s+)?{_DAY}\b{_YEAR}")
_DAY_MONTH = re.compile(rf"\b{_DAY}\s+(?:of\s+)?(?P<month>{_MONTH_NAME})\b\.?{_YEAR}")
_SLASHED = re.compile(r"(?<![\d/.])(?P<first>\d{1,2})(?P<mark>[/.])(?P<second>\d{1,2})(?P=mark)(?P<year>\d{4})(?!\d)")

_WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_WEEKDAY = re.compile(rf"\b(?P<next>next\s+)?(?P<weekday>{'|'.join(_WEEKDAYS)})\b")
_RELATIVE = {
    "day before yesterday": -2,
    "yesterday": -1,
    "today": 0,
    "tonight": 0,
    "tomorrow": 1,
    "day after tomorrow": 2,
}
_RELATIVE_DAY = re.compile(rf"\b({'|'.join(sorted(_RELATIVE, key=len, reverse=True))})\b")
_IN_DAYS = re.compile(r"\bin\s+(?P<count>\w+)\s+(?P<unit>day|week)s?\b")

_TWELVE_HOUR = re.compile(r"(?<![\w:.])(?P<hour>1[0-2]|0?[1-9])(?::(?P<minute>[0-5]\d))?\s?(?P<half>[ap])\.?m\b")
_CLOCK = re.compile(r"(?<![\d:.])(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(?::[0-5]\d(?:\.\d+)?)?(?![\d:])")
_NAMED_TIMES = {"noon": (12, 0), "midday": (12, 0), "midnight": (0, 0)}

_CALENDAR = (_ISO_DAY, _MONTH_DAY, _DAY_MONTH, _SLASHED, _TWELVE_HOUR, _CLOCK)


@dataclass(frozen=True, slots=True)
class Days:
    """The days that a text states, apart by how they are stated."""

    full: frozenset[date]
    """Year, month and day."""
    yearless: frozenset[tuple[int, int]]
    """Month and day."""
    relative: frozenset[int]
    """Days from the day on which it was said."""
    weekdays: frozenset[tuple[int, bool]]
    """Monday is 0; True: "next" stood before it."""

    def resolve(self, today: date) -> frozenset[date]:
        """The days meant by one who speaks on `today`."""
        resolved = set(self.full) | {today + timedelta(days=offset) for offset in self.relative}
        for month, day in self.yearless:
            resolved.update(_near(month, day, today))
        for weekday, is_next in self.weekdays:
            resolved.update(_coming(weekday, is_next, today))
        return frozenset(resolved)


def numbers_in(text: str, *, within_dates: bool = False) -> frozenset[Decimal]:
    """Figures (1,000; 2.5; 20 %; 5k) and number words (two, twenty-five, three hundred).

    Args:
        text: what was said.
        within_dates: also the figures that are parts of dates and clock times.
    """
    lowered = text.lower()
    if not within_dates:
        for pattern in _CALENDAR:
            lowered = pattern.sub(" ; ", lowered)
    found: set[Decimal] = set()
    for match in _NUMBER.finditer(lowered):
        number = Decimal(match["number"].replace(",", ""))
        found.add(number)
        if match["percent"]:
            found.add(number / 100)
        if match["scale"]:
            found.add(number * _SCALES[match["scale"]])
    return frozenset(found | {Decimal(value) for value in _number_words(lowered)})


def _number_words(text: str) -> Iterator[int]:
    """Each maximal run of number words as one number; "one two" is two numbers."""
    value: int | None = None
    end = 0
    for match in _WORD.finditer(text):
        word = match[0]
        if value is not None and text[end : match.start()].strip(" -"):
            yield value
            value = None
        joined = _extend(value, word)
        if joined is None and value is not None:
            yield value
            joined = _extend(None, word)
        value, end = joined, match.end()
    if value is not None:
        yield value


def _extend(value: int | None, word: str) -> int | None:
    """The number after one more word; None: the word does not continue it."""
    if word in _SCALES and word != "k":
        scale = _SCALES[word]
        return (1 if value is None else value) * scale if value is None or value < scale else None
    if word in _TENS:
        return (value or 0) + _TENS[word] if value is None or _is_hundreds(value) else None
    if word in _SMALL:
        small = _SMALL[word]
        if value is None:
            return small
        follows_tens = value % 100 in _TENS.values() and 0 < small < 10
        return value + small if follows_tens or (_is_hundreds(value) and small > 0) else None
    return None


def _is_hundreds(value: int) -> bool:
    return 0 < value < 1000 and value % 100 == 0


def days_in(text: str) -> Days:
    """Days written as 2026-05-03, 3 May (2026), May 3rd, 31/12/2026, tomorrow, in two weeks, on Friday."""
    lowered = text.lower()
    full: set[date] = set()
    yearless: set[tuple[int, int]] = set()
    for pattern in (_ISO_DAY, _MONTH_DAY, _DAY_MONTH):
        for match in pattern.finditer(lowered):
            month, day = _MONTH.get(match["month"]) or int(match["month"]), int(match["day"])
            if match["year"] is None:
                yearless.add((month, day))
            else:
                full.update(_valid(int(match["year"]), month, day))
    for match in _SLASHED.finditer(lowered):
        full.update(_unambiguous(int(match["first"]), int(match["second"]), int(match["year"])))
    relative = {_RELATIVE[match[0]] for match in _RELATIVE_DAY.finditer(lowered)}
    for match in _IN_DAYS.finditer(lowered):
        relative.update(_offset(match["count"], match["unit"]))
    weekdays = {(_WEEKDAYS.index(m["weekday"]), bool(m["next"])) for m in _WEEKDAY.finditer(lowered)}
    return Days(frozenset(full), frozenset(yearless), frozenset(relative), frozenset(weekdays))


def times_in(text: str) -> frozenset[ClockTime]:
    """Clock times written as 15:00, 3pm, 3:30 p.m., noon, midnight."""
    lowered = text.lower()
    found = {time for word, time in _NAMED_TIMES.items() if re.search(rf"\b{word}\b", lowered)}
    for match in _TWELVE_HOUR.finditer(lowered):
        hour = int(match["hour"]) % 12 + (12 if match["half"] == "p" else 0)
        found.add((hour, int(match["minute"] or 0)))
    for match in _CLOCK.finditer(_TWELVE_HOUR.sub(" ", lowered)):
        found.add((int(match["hour"]), int(match["minute"])))
    return frozenset(found)


def _valid(year: int, month: int, day: int) -> list[date]:
    try:
        return [date(year, month, day)]
    except ValueError:
        return []


def _unambiguous(first: int, second: int, year: int) -> list[date]:
    readings = {*_valid(year, first, second), *_valid(year, second, first)}
    return [*readings] if len(readings) == 1 else []


def _offset(count: str, unit: str) -> list[int]:
    numbers = numbers_in(count)
    if count in ("a", "an"):
        numbers = frozenset({Decimal(1)})
    days = [int(number) * (7 if unit == "week" else 1) for number in numbers if number == int(number)]
    return [value for value in days if 0 < value <= 3650]


def _near(month: int, day: int, today: date) -> list[date]:
    """That day of this year, and its next occurrence."""
    this_year, next_year = _valid(today.year, month, day), _valid(today.year + 1, month, day)
    return this_year if this_year and this_year[0] >= today else this_year + next_year


def _coming(weekday: int, is_next: bool, today: date) -> list[date]:
    """The first such day after today; "next" counts only when it is also the one of next week."""
    coming = today + timedelta(days=(weekday - today.weekday() - 1) % 7 + 1)
    of_next_week = today + timedelta(days=7 - today.weekday() + weekday)
    return [coming] if not is_next or coming == of_next_week else []
