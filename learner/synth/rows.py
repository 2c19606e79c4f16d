"""Generated situations as dataset rows, and as files of them."""

import random
from collections.abc import Iterator, Sequence

from learner.rows import RewardModel, Row
from learner.synth.lexicon import Side
from learner.synth.scenarios import WEIGHTS, Family, invent_family


def family_rows(family: Family, family_id: str) -> Iterator[Row]:
    for index, situation in enumerate(family.situations):
        yield Row(
            data_source=f"synth/{situation.kind}",
            prompt=situation.messages,
            tools=family.schemas,
            reward_model=RewardModel(ground_truth=situation.truth),
            extra_info={
                "id": f"{family_id}-{index}",
                "split": family.side,
                "tool_ids": [t.name for t in family.tools],
            },
        )


def generate_rows(
    seed: int, side: Side, count: int, *, per_family: int = 4, kinds: Sequence[str] = ()
) -> Iterator[Row]:
    """`count` rows; the same seed gives the same rows. No prompt is given twice. Args: kinds: of situations; none: all."""
    weights = {kind: weight for kind, weight in WEIGHTS.items() if not kinds or kind in kinds}
    seen: set[str] = set()
    family_index = 0
    while len(seen) < count:
        rng = random.Random(f"{seed}/{side}/{family_index}")
        family = invent_family(rng, side, tools=(1, 6), situations=per_family, weights=weights)
        for row in family_rows(family, f"{side}-{seed}-{family_index}"):
            key = repr((row.prompt, [t["function"]["name"] for t in row.tools]))
            if key not in seen and len(seen) < count:
                seen.add(key)
                yield row
        family_index += 1
