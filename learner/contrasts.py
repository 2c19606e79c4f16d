"""Requests that are declined for a few words alone: a usual request, with words by which another one broke a rule.

What a refuse rule proves wrong are whole requests, and which of their words it was they do not say: learnt from them alone,
declining spreads to usual requests of tools that no trace is about. Beside the same request without them it is these words and
nothing else (`docs/decisions/0050-what-a-rule-forbids-and-nothing-else.md`). Pure, and deterministic by seed.
"""

import random
import re
from collections.abc import Iterator, Sequence

from learner.rows import GroundTruth, Row
from learner.variants import derived
from runtime.verify.rules import RefuseRule, asked, first_broken

_MOST_WORDS = 12
"""Of a part of a request that is said with another one; a longer one has a subject of its own."""
_AFTER = 0.7
"""Share that comes after the other request, and not before it."""


def contrasts(
    rows: Sequence[Row], usual: Sequence[Row], rules: Sequence[RefuseRule], count: int, seed: int = 0
) -> list[Row]:
    """Up to `count` of the `usual` requests that call a tool, each once with words by which one of the `rows` broke a rule, to be
    declined as the rule says; none where no row broke one."""
    parts = sorted({part for row in rows for part in _parts_against(rules, asked(row.prompt).strip())})
    if not parts:
        return []
    rng = random.Random(f"contrasts/{seed}")
    sources = [(row, text) for row in usual if row.truth.decision == "execute" and (text := asked(row.prompt).strip())]
    sources = [(row, text) for row, text in sources if not first_broken(rules, text)]
    made: list[Row] = []
    for source, said in rng.sample(sources, min(count, len(sources))):
        text = _said_together(rng, said, rng.choice(parts))
        if rule := first_broken(rules, text):
            truth = GroundTruth(decision="refuse", category=rule.category.value)
            made.append(derived(source, "against a rule", text=text, truth=truth))
    return made


def _parts_against(rules: Sequence[RefuseRule], text: str) -> Iterator[str]:
    """Short parts of a request, between its marks, that break a rule by themselves."""
    for part in re.split(r"(?<=[.!?;,])\s+", text):
        if len(part.split()) <= _MOST_WORDS and first_broken(rules, part):
            yield part.rstrip(",;")


def _said_together(rng: random.Random, text: str, part: str) -> str:
    if rng.random() >= _AFTER:
        return f"{part.rstrip('.!?')}, {_within(text)}"
    return f"{text} {part}" if text[-1] in ".!?" else f"{text}, {_within(part)}"


def _within(sentence: str) -> str:
    """With a small letter, but where the first word is written large by itself: "I", "HTTP"."""
    return sentence[:1].lower() + sentence[1:] if sentence[1:2].islower() else sentence
