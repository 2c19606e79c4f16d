import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.builtin.units import Units
from tools.outcome import CallFault

UNITS = Units()


@pytest.mark.parametrize(
    ("value", "from_unit", "to_unit", "converted"),
    [
        (10, "km", "miles", 6.213711922),
        (26.2, "miles", "kilometers", 42.16481280),
        (100, "celsius", "fahrenheit", 212),
        (-40, "F", "C", -40),
        (0, "°C", "kelvin", 273.15),
        (3, "KM", "m", 3000),
        (36, "km/h", "m/s", 10),
        (1, "acre", "m^2", 4046.872609874),
        (2, "cups", "ml", 473.176473),
        (1, "kg/(m*s)", "kilogram per meter per second", 1),
        (90, "minutes", "hours", 1.5),
    ],
)
def test_a_value_is_converted(value: float, from_unit: str, to_unit: str, converted: float) -> None:
    assert UNITS.convert_units(value, from_unit, to_unit)["value"] == pytest.approx(converted)


def test_the_unit_is_named_in_full() -> None:
    assert UNITS.convert_units(1, "km", "mi")["unit"] == "mile"


@pytest.mark.parametrize(
    ("value", "from_unit", "to_unit", "told"),
    [
        (1, "kilometrers", "m", "'kilometrers' is no known unit; did you mean"),
        (1, "m", "kg", r"'m' cannot become 'kg': one measures \[length\], the other \[mass\]"),
        (1, "zzzzqqq", "m", "is no known unit; write it out"),
        (1, "2 m", "m", "is no unit"),
        (1, "", "m", "is no unit"),
        (1, "9**9**9**9", "m", "is no unit"),
        (1, "m**9**9**9", "m", "is no unit"),
        (1, "m**99999999", "m", "is no unit"),
        (1, "__class__", "m", "is no known unit"),
        (1, "m" * 41, "m", "is no unit"),
        (1e308, "km", "nanometer", "too large"),
        (10**400, "km", "m", "cannot be converted"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_words(value: float, from_unit: str, to_unit: str, told: str) -> None:
    with pytest.raises(CallFault, match=told):
        UNITS.convert_units(value, from_unit, to_unit)


@settings(deadline=None)
@given(st.text(max_size=45) | st.text("km/h*^29() sqdegC%", max_size=40))
def test_any_text_is_a_unit_or_refused(text: str) -> None:
    try:
        converted = UNITS.convert_units(1, text, "m")["value"]
    except CallFault:
        return
    assert converted == pytest.approx(float(converted))
