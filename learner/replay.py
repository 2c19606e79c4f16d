"""Requests of everyday life that are trained on beside the traces, against forgetting what no trace is about.

What traces teach about a house's few tools spreads to tools that they never show: calls become refusals, and what is not said is no
longer asked for. Their corrections pull one way besides: users restate what was needlessly asked or refused, so what they prove is
mostly "you could have acted". Some hundred requests for as many other tools, of every class, hold the rest where it was
(`docs/decisions/0050-what-a-rule-forbids-and-nothing-else.md`).
"""

import random
from collections import defaultdict

from learner.rows import Row
from learner.synth.everyday import everyday_rows

SHARES = {"execute": 0.4, "clarify": 0.4, "refuse": 0.2}
"""Of the replay."""
OTHERS = 3
"""The most tools that a row shows beside those that it is about, so that it is not longer than a trace's."""


def replay_rows(count: int, seed: int) -> list[Row]:
    """`count` requests, fewer where there are not so many, each beside some tools of its domain; the same seed gives the same
    rows. None is kept for evaluation."""
    rng = random.Random(f"replay/{seed}")
    by_class: dict[str, list[Row]] = defaultdict(list)
    for row in everyday_rows() if count else ():
        if row.extra_info["split"] == "train":
            by_class[row.truth.decision].append(row)
    rows = [
        row
        for decision, share in SHARES.items()
        for row in rng.sample(by_class[decision], min(round(share * count), len(by_class[decision])))
    ]
    return [_beside_few(rng, row) for row in rng.sample(rows, len(rows))]


def _beside_few(rng: random.Random, row: Row) -> Row:
    about = row.extra_info["tool_ids"]
    others = [tool for tool in row.tools if tool["function"]["name"] not in about]
    kept = rng.sample(others, min(len(others), rng.randint(0, OTHERS)))
    return row.model_copy(update={"tools": tuple(tool for tool in row.tools if tool not in others or tool in kept)})
