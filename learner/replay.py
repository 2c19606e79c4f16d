"""Generated requests that are trained on beside the traces, against forgetting to ask and to refuse.

Traces mostly correct one way: users restate what was needlessly asked or refused, so what they prove is "you could have
acted". A question or a refusal that was right is seldom proven, and teaches nothing while the policy decides so anyway. Alone, such
a batch teaches to act when one should not (`docs/log.md` has the figures).
"""

import sys
from collections import Counter

from learner.rows import Row
from learner.synth.rows import generate_rows

SHARES = {"clarify": 0.6, "refuse": 0.4}
"""Of the replay."""


def replay_rows(count: int, seed: int) -> list[Row]:
    """`count` requests on invented tools, to be asked about or refused; the same seed gives the same rows."""
    left = Counter({decision: round(share * count) for decision, share in SHARES.items()})
    rows: list[Row] = []
    generated = generate_rows(seed + 11, "train", sys.maxsize)
    while left.total():
        row = next(generated)
        if left[row.truth.decision] > 0:
            left[row.truth.decision] -= 1
            rows.append(row)
    return rows
