"""What the worker decodes with: rows of one set of weights, which join, take steps together, and leave when done.

Two implementations. `padded.PaddedDecoder` calls a Hugging Face model as it is, whichever it may be. `fused.FusedDecoder` does the
arithmetic of small Qwen2 models itself, on a CPU, where a step of theirs is mostly the dispatch of small operations.
"""

from collections.abc import Sequence
from typing import Protocol

from runtime.policy.embedded.rows import Row, Sampled


class Decoder(Protocol):
    """May raise whatever torch raises: after an error of `step` it is of no more use; after one of `admit` the new rows have failed
    and the others go on. A row whose future is done leaves at the next step."""

    @property
    def rows(self) -> Sequence[Row]:
        """Those that are not done."""
        ...

    def admit(self, rows: Sequence[Row]) -> list[Row]:
        """Reads the prompts of more rows and gives each its first token; returns those that this ended."""
        ...

    def step(self) -> list[Row]:
        """Gives each row one token more, and returns those that this ended."""
        ...


def decode_together(decoder: Decoder, rows: Sequence[Row]) -> list[Sampled]:
    """Decodes rows to their ends, with a decoder of their own: the same rows give the same again."""
    sampled = {row: row.sampled() for row in decoder.admit(rows)}
    while decoder.rows:
        sampled |= {row: row.sampled() for row in decoder.step()}
    return [sampled[row] for row in rows]
