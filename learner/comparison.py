"""Two policies on the same rows, paired row by row: how far apart they are, and whether chance alone could do that. Pure.

Reward: paired bootstrap of the difference. Exact and right kind of decision: McNemar's exact test on the rows where the two differ
(McNemar 1947; two-sided, by the binomial distribution). One family of tests per table: with many sources, some p-values
below 0.05 are to be expected.
"""

from collections.abc import Callable, Mapping, Sequence
from math import comb
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from learner.bootstrap import Interval, mean_interval
from learner.errors import BadRows
from learner.figures import CLASSES, RowResult


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Results(_Frozen):
    """What a comparison needs of one file of results, as `hone eval --json` writes it."""

    policy: dict[str, Any]
    data_sha256: str
    """Of the rows, as read."""
    strict: bool
    rows: tuple[RowResult, ...]

    @classmethod
    def read(cls, data: Any, name: str) -> "Results":
        """Raises: BadRows: no file of results."""
        try:
            return cls(
                policy=data["policy"],
                data_sha256=data["data"]["sha256"],
                strict=data["settings"]["strict"],
                rows=data["rows"],
            )
        except (KeyError, TypeError, ValidationError) as e:
            raise BadRows(f"{name} holds no results of hone eval: give a file that `hone eval --json` wrote") from e


class Discordance(_Frozen):
    """A yes-or-no figure of both policies."""

    a: float
    b: float
    """Shares of the rows."""
    only_a: int
    only_b: int
    """Rows where one alone is right."""
    p: float
    """McNemar's exact test, two-sided."""


class Pairing(_Frozen):
    n: int
    reward_a: float
    reward_b: float
    reward_gain: Interval
    """b less a."""
    exact: Discordance
    decision: Discordance
    """The right kind of decision."""


class Comparison(_Frozen):
    a: dict[str, Any]
    b: dict[str, Any]
    overall: Pairing
    per_class: dict[str, Pairing]
    per_source: dict[str, Pairing]
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    """Rows that one of the two could not take (too long, failed): left out."""


def compare(a: Results, b: Results, *, resamples: int = 4000, seed: int = 0) -> Comparison:
    """Raises: BadRows: the two were not measured on the same rows by the same rule."""
    if a.data_sha256 != b.data_sha256:
        mine, theirs = {r.id for r in a.rows}, {r.id for r in b.rows}
        raise BadRows(
            f"the files are over different rows ({len(mine & theirs)} ids in both, {len(mine - theirs)} only in the first, "
            f"{len(theirs - mine)} only in the second; or rows of one id differ): measure both policies on the same --data, "
            "--sample and --seed"
        )
    if a.strict != b.strict:
        raise BadRows("one file was measured with --strict and the other without: measure both in the same way")
    first, second = {r.id: r for r in a.rows}, {r.id: r for r in b.rows}
    ids = sorted(first.keys() & second.keys())
    if not ids:
        raise BadRows("no row was measured by both: there is nothing to compare")
    pairs = [(first[row_id], second[row_id]) for row_id in ids]

    def pairing(of: Callable[[RowResult], bool]) -> Pairing:
        return _pairing([pair for pair in pairs if of(pair[0])], resamples, seed)

    heads = {r.source.split("/")[0] for r, _ in pairs}
    sources = sorted({r.source for r, _ in pairs} | heads)
    return Comparison(
        a=a.policy,
        b=b.policy,
        overall=_pairing(pairs, resamples, seed),
        per_class={k: pairing(lambda r, k=k: r.truth == k) for k in CLASSES if any(r.truth == k for r, _ in pairs)},
        per_source={s: pairing(lambda r, s=s: r.source == s or r.source.split("/")[0] == s) for s in sources},
        only_in_a=tuple(sorted(first.keys() - second.keys())),
        only_in_b=tuple(sorted(second.keys() - first.keys())),
    )


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p: how often fair coins fall at least as unevenly. 1 where the two never differ."""
    n, fewer = only_a + only_b, min(only_a, only_b)
    tail = sum(comb(n, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**n)


def _pairing(pairs: Sequence[tuple[RowResult, RowResult]], resamples: int, seed: int) -> Pairing:
    n = len(pairs)
    return Pairing(
        n=n,
        reward_a=sum(a.reward for a, _ in pairs) / n,
        reward_b=sum(b.reward for _, b in pairs) / n,
        reward_gain=mean_interval([b.reward - a.reward for a, b in pairs], resamples=resamples, seed=seed),
        exact=_discordance([(a.exact, b.exact) for a, b in pairs]),
        decision=_discordance([(a.decided == a.truth, b.decided == b.truth) for a, b in pairs]),
    )


def _discordance(pairs: Sequence[tuple[bool, bool]]) -> Discordance:
    counts: Mapping[tuple[bool, bool], int] = {
        (x, y): pairs.count((x, y)) for x in (True, False) for y in (True, False)
    }
    n, only_a, only_b = len(pairs), counts[True, False], counts[False, True]
    both = counts[True, True]
    return Discordance(
        a=(both + only_a) / n, b=(both + only_b) / n, only_a=only_a, only_b=only_b, p=mcnemar(only_a, only_b)
    )
