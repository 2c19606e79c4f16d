"""Things of one kind, written by hand in `things.txt`: what a parameter for them is called, and some of them."""

from functools import cache
from pathlib import Path


@cache
def things() -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Of each kind: names of parameters, and things."""
    lines = Path(__file__).with_name("things.txt").read_text(encoding="ascii").splitlines()
    parted = (line.split(": ") for line in lines)
    return tuple((tuple(names.split(", ")), tuple(known.split(", "))) for names, known in parted)
