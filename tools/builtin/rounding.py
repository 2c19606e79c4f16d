"""Numbers as a person would write them: the noise of binary fractions is rounded away, whole numbers are integers."""

_EXACT = 2**53
"""Below it every integer is a float of its own."""


def plain_number(value: float, *, digits: int = 12) -> float | int:
    """Args: digits: significant ones that stay."""
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < _EXACT else rounded
