"""Conversion of units of measurement, through pint's registry."""

import math
import re
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tools.builtin.declaration import Builtin
from tools.builtin.rounding import plain_number
from tools.outcome import refusal

if TYPE_CHECKING:
    from pint import Unit, UnitRegistry

_NAME = r"[(]?(?:[^\W\d]|[°%])\w*(?:(?:\^|\*\*)-?[1-9](?![\d*^]))?[)]?"
_EXPRESSION = re.compile(rf"{_NAME}(?:(?: ?[*/] ?| ){_NAME})*")
"""Unit names with small powers. pint would also compute 9**9**9, for hours."""
MAX_CHARS = 40
_EVERYDAY = {"c": "degree_Celsius", "f": "degree_Fahrenheit"}
"""People mean temperatures by these letters, not coulombs and farads, which pint reads."""
_SIGNIFICANT_DIGITS = 10


class Units:
    """The tool's function; the registry is read from pint's file at the first conversion."""

    @cached_property
    def _registry(self) -> "UnitRegistry":
        from pint import UnitRegistry

        return UnitRegistry()

    def convert_units(self, value: float, from_unit: str, to_unit: str) -> dict[str, Any]:
        from pint import DimensionalityError, OffsetUnitCalculusError

        source, target = self._unit(from_unit), self._unit(to_unit)
        try:
            converted = float(self._registry.Quantity(float(value), source).to(target).magnitude)
        except DimensionalityError as e:
            raise refusal(
                f"{from_unit!r} cannot become {to_unit!r}: one measures {e.dim1 or 'a pure number'}, "
                f"the other {e.dim2 or 'a pure number'}"
            ) from e
        except (OverflowError, ZeroDivisionError, OffsetUnitCalculusError) as e:
            raise refusal(f"{value} {from_unit} cannot be converted to {to_unit!r}: {e}") from e
        if not math.isfinite(converted):
            raise refusal(f"{value} {from_unit} is too large to convert")
        return {"value": plain_number(converted, digits=_SIGNIFICANT_DIGITS), "unit": str(target)}

    def _unit(self, name: str) -> "Unit":
        wanted = " ".join(name.split())
        if len(wanted) > MAX_CHARS or not _EXPRESSION.fullmatch(wanted):
            raise refusal(f"{name!r} is no unit; write a name or an expression such as km/h")
        for spelling in (_EVERYDAY.get(wanted.lower(), wanted), wanted.lower()):
            try:
                return self._registry.parse_units(spelling)
            except Exception:  # pint's own parser raises a dozen kinds for text that is no unit; all mean the same here
                continue
        near = get_close_matches(wanted.lower(), list(self._registry), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "write it out, such as kilometer or pound"
        raise refusal(f"{name!r} is no known unit; {hint}")


def unit_tools() -> tuple[Builtin, ...]:
    unit = {"type": "string", "maxLength": MAX_CHARS}
    return (
        Builtin(
            name="convert_units",
            description="Convert a value from one unit of measurement to another.",
            function=Units().convert_units,
            properties={
                "value": {"type": "number", "description": "The amount to convert"},
                "from_unit": {**unit, "description": "Unit of the value, such as miles or celsius"},
                "to_unit": {**unit, "description": "Unit wanted, such as km or fahrenheit"},
            },
            required=("value", "from_unit", "to_unit"),
        ),
    )
