"""Clock times between time zones, the current time, and days between dates.

A zone is an IANA name (Europe/Paris), the city in one (Paris, New York) or UTC. Rules come from the system's or the
`tzdata` package's database through `zoneinfo`.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from tools.builtin.declaration import Builtin
from tools.outcome import refusal

_FORMS = ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")
_CLOCK_FORMS = ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I %p", "%I:%M%p", "%I%p")
_ZONE = {"type": "string", "description": "Time zone or city, such as Europe/Paris, Tokyo or UTC", "maxLength": 64}


class Zones:
    """Finds the zone that a person means."""

    @cached_property
    def _by_name(self) -> Mapping[str, str]:
        """Lower-case IANA names, and the cities in them, to IANA names."""
        found: dict[str, str] = {}
        # Full names win over cities, and of two zones with one city the shorter, older name wins.
        names = sorted(available_timezones(), key=lambda name: (len(name), name))
        for name in names:
            found[name.lower()] = name
        for name in names:
            if "/" in name and not name.startswith("Etc/"):
                found.setdefault(_plain(name.rpartition("/")[2]), name)
        return found

    def find(self, name: str) -> ZoneInfo:
        wanted = _plain(name)
        known = self._by_name.get(name.strip().lower()) or self._by_name.get(wanted)
        if known is None:
            near = get_close_matches(wanted, self._by_name, n=3)
            hint = f"did you mean {' or '.join(self._by_name[key] for key in near)}?" if near else "use an IANA name"
            raise refusal(f"{name!r} is no known time zone or city; {hint}")
        return ZoneInfo(known)


class Clock:
    """The tools' functions. Args: now: the time, with its zone."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._zones = Zones()

    def convert_time(self, time: str, from_zone: str, to_zone: str) -> dict[str, Any]:
        source, target = self._zones.find(from_zone), self._zones.find(to_zone)
        local = self._moment(time, source)
        try:
            there = local.astimezone(UTC).astimezone(target)
            exists = there.astimezone(source).replace(tzinfo=None) == local.replace(tzinfo=None)
        except OverflowError as e:
            raise refusal(f"{time!r} is outside the calendar that can be converted") from e
        if not exists:
            raise refusal(f"{local:%Y-%m-%d %H:%M} does not exist in {source.key}: the clocks go forward over it")
        result = {"time": f"{there:%Y-%m-%d %H:%M}", "zone": target.key, "utc_offset": _offset(there)}
        if local.utcoffset() != local.replace(fold=1).utcoffset():
            result["note"] = "the clocks go back over that time, so it comes twice; this is the first"
        return result

    def current_time(self, zone: str) -> dict[str, Any]:
        there = self._now().astimezone(self._zones.find(zone))
        return {
            "time": f"{there:%Y-%m-%d %H:%M}",
            "weekday": f"{there:%A}",
            "zone": str(there.tzinfo),
            "utc_offset": _offset(there),
        }

    def days_between(self, start: str, end: str) -> dict[str, Any]:
        return {"days": (date.fromisoformat(end) - date.fromisoformat(start)).days}

    def _moment(self, text: str, zone: ZoneInfo) -> datetime:
        wanted = " ".join(text.split()).upper()
        for form in _FORMS:
            try:
                return datetime.strptime(wanted, form).replace(tzinfo=zone)
            except ValueError:
                continue
        today = self._now().astimezone(zone)
        for form in _CLOCK_FORMS:
            try:
                clock = datetime.strptime(wanted, form)
            except ValueError:
                continue
            return today.replace(hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0, fold=0)
        raise refusal(f"{text!r} is no time; write HH:MM, or YYYY-MM-DD HH:MM for another day than today")


def time_tools(now: Callable[[], datetime]) -> tuple[Builtin, ...]:
    clock = Clock(now)
    return (
        Builtin(
            name="convert_time",
            description="Convert a clock time from one time zone to another.",
            function=clock.convert_time,
            properties={
                "time": {"type": "string", "description": "HH:MM for today, or YYYY-MM-DD HH:MM", "maxLength": 32},
                "from_zone": _ZONE,
                "to_zone": _ZONE,
            },
            required=("time", "from_zone", "to_zone"),
        ),
        Builtin(
            name="current_time",
            description="Tell the current date and time in a time zone.",
            function=clock.current_time,
            properties={"zone": _ZONE},
            required=("zone",),
        ),
        Builtin(
            name="days_between",
            description="Count the days from one date to another.",
            function=clock.days_between,
            properties={
                "start": {"type": "string", "format": "date", "description": "First date, YYYY-MM-DD"},
                "end": {"type": "string", "format": "date", "description": "Last date, YYYY-MM-DD"},
            },
            required=("start", "end"),
        ),
    )


def _plain(name: str) -> str:
    return "_".join(name.strip().lower().replace("_", " ").split())


def _offset(moment: datetime) -> str:
    offset = moment.utcoffset() or timedelta()
    minutes = int(offset.total_seconds()) // 60
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
