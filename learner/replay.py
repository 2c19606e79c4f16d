"""Generated questions that are trained on beside the traces, against forgetting to ask.

Traces mostly correct one way: users restate what was needlessly asked or refused, so what they prove is "you could have
acted". A question that was right is verified, but teaches nothing while the policy asks it anyway. Alone, such a batch teaches
to act when one should ask (`docs/log.md` has the figures).
"""

from itertools import islice

from learner.rows import Row
from learner.synth.rows import generate_rows

_ROWS_PER_QUESTION = 12
"""Of the generator's rows about one in five is to be answered with a question."""


def replay_rows(count: int, seed: int) -> list[Row]:
    """`count` requests on invented tools that lack a required value; the same seed gives the same rows."""
    if not count:
        return []
    generated = generate_rows(seed + 11, "train", _ROWS_PER_QUESTION * count)
    return list(islice((row for row in generated if row.truth.decision == "clarify"), count))
