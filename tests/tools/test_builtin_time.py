from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.builtin.time import Clock
from tools.outcome import CallFault

CLOCK = Clock(lambda: datetime(2026, 7, 14, 20, 30, tzinfo=UTC))
ZONES = ["UTC", "Europe/Paris", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Kiritimati"]


@pytest.mark.parametrize(
    ("time", "from_zone", "to_zone", "there", "offset"),
    [
        ("2026-01-05 09:30", "Europe/Paris", "Asia/Tokyo", "2026-01-05 17:30", "+09:00"),
        ("2026-01-05T09:30", "paris", "new york", "2026-01-05 03:30", "-05:00"),
        ("09:30", "Paris", "UTC", "2026-07-14 07:30", "+00:00"),
        ("5 pm", "London", "Kolkata", "2026-07-14 21:30", "+05:30"),
        ("11:15 PM", "UTC", "Asia/Kathmandu", "2026-07-15 05:00", "+05:45"),
        # In Auckland it is already the 15th, so "today" is.
        ("08:00", "Auckland", "UTC", "2026-07-14 20:00", "+00:00"),
    ],
)
def test_a_time_is_converted(time: str, from_zone: str, to_zone: str, there: str, offset: str) -> None:
    result = CLOCK.convert_time(time, from_zone, to_zone)
    assert (result["time"], result["utc_offset"]) == (there, offset)
    assert "note" not in result


def test_a_time_that_comes_twice_is_noted() -> None:
    result = CLOCK.convert_time("2026-10-25 02:30", "Paris", "UTC")
    assert result["time"] == "2026-10-25 00:30"
    assert "twice" in result["note"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("2026-03-29 02:30", "Paris", "UTC"), "does not exist in Europe/Paris"),
        (("25:00", "Paris", "UTC"), "'25:00' is no time; write HH:MM"),
        (("noonish", "Paris", "UTC"), "'noonish' is no time"),
        (("09:00", "Parris", "UTC"), "'Parris' is no known time zone or city; did you mean Europe/Paris"),
        (("09:00", "UTC", "../../etc/passwd"), "no known time zone"),
        (("0001-01-01 00:00", "Tokyo", "UTC"), "outside the calendar"),
    ],
)
def test_a_bad_time_or_zone_is_refused_in_words(arguments: tuple[str, str, str], told: str) -> None:
    with pytest.raises(CallFault, match=told):
        CLOCK.convert_time(*arguments)


def test_the_current_time_is_told() -> None:
    assert CLOCK.current_time("Auckland") == {
        "time": "2026-07-15 08:30",
        "weekday": "Wednesday",
        "zone": "Pacific/Auckland",
        "utc_offset": "+12:00",
    }


@pytest.mark.parametrize(("start", "end", "days"), [("2026-02-27", "2026-03-01", 2), ("2026-03-01", "2026-02-27", -2)])
def test_days_are_counted_either_way(start: str, end: str, days: int) -> None:
    assert CLOCK.days_between(start, end) == {"days": days}


@settings(deadline=None)
@given(st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)), st.sampled_from(ZONES), st.sampled_from(ZONES))
def test_there_and_back_is_the_same_time(moment: datetime, here: str, there: str) -> None:
    time = f"{moment:%Y-%m-%d %H:%M}"
    try:
        gone: dict[str, Any] = CLOCK.convert_time(time, here, there)
        back = CLOCK.convert_time(gone["time"], there, here)
    except CallFault:  # the clocks went forward over it
        return
    if "note" not in gone and "note" not in back:
        assert back["time"] == time
