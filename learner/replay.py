"""Generated decisions that are trained on beside the traces, against forgetting.

Traces mostly correct one way: users restate what was needlessly asked or refused, so what they prove is "you could have
acted". A question that was right is verified, but teaches nothing while the policy asks it anyway. Alone, such a batch teaches
to act when one should ask. The replay is therefore mostly questions, and some requests that differ from them only in what
they say.
"""

from learner.rows import Row
from learner.synth.rows import generate_rows

_CLARIFY_SHARE = 0.75


def replay_rows(count: int, seed: int) -> list[Row]:
    """`count` rows on invented tools, three quarters of them to be answered with a question; the same seed gives the same rows."""
    questions = round(count * _CLARIFY_SHARE)
    wanted = {"clarify": questions, "execute": count - questions}
    rows: list[Row] = []
    size = 8 * count
    for row in generate_rows(seed + 11, "train", size) if count else ():
        decision = row.truth.decision
        if wanted.get(decision, 0) > 0:
            wanted[decision] -= 1
            rows.append(row)
    return rows
