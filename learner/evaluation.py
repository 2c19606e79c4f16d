"""Measuring a policy: the same rows, greedy decoding, the reward of training.

Figures stand per source, per decision class and per length of the conversation, beside policies that ignore the request
(`learner.baselines`), so that a number can be read for what it is. Results are kept per row, so that two reports can be paired
(`learner.comparison`, `learner.gate`).
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict

from learner.deciding import Decider, ModelDecider, Outcome, Undecided
from learner.errors import BadRows
from learner.figures import Figures, Group, RowResult, by_source, by_turns, figures_of, group_of, result_of
from learner.row_forms import Fault
from learner.rows import Row
from learner.settings import EvaluationSettings
from runtime.errors import PolicyUnavailable
from runtime.policy.base import Policy
from runtime.prompt import Renderer

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""


class Unmeasured(BaseModel):
    """A row that was not measured, and why."""

    model_config = ConfigDict(frozen=True)

    id: str
    fault: Fault
    detail: str


RowOutcome: TypeAlias = RowResult | Unmeasured


class Journal(Protocol):
    """What was found already, and where more is written down as it is found (`learner.results`)."""

    def known(self) -> Mapping[str, RowOutcome]: ...

    def keep(self, outcomes: Sequence[RowOutcome]) -> None:
        """Lasting when it returns."""
        ...


class EvaluationReport(Group):
    """All rows together, and each source and length."""

    model: str
    adapter: str | None
    per_source: dict[str, Group] = {}
    per_turns: dict[str, Figures] = {}
    """Rows by the user's messages in them."""
    unmeasured: tuple[Unmeasured, ...] = ()
    too_long: tuple[str, ...]
    """Ids of rows whose prompt leaves no room; they are not measured."""
    truncated: int
    """Completions that were cut at `max_tokens`."""
    seconds: float
    rows: tuple[RowResult, ...]


async def evaluate(
    policy: Policy,
    renderer: Renderer,
    rows: Sequence[Row],
    *,
    adapter: str | None = None,
    settings: EvaluationSettings | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Runs a policy once over every row at temperature 0.

    Raises:
        BadRows: two rows share an id.
        PolicyUnavailable, UnknownAdapter: from the policy.
    """
    settings = settings or EvaluationSettings()
    started = time.monotonic()
    outcomes = await measure(
        ModelDecider(policy, renderer, adapter=adapter, settings=settings), rows, settings=settings, progress=progress
    )
    seconds = time.monotonic() - started
    return report_of(rows, outcomes, model=policy.model, adapter=adapter, seconds=seconds, settings=settings)


async def measure(
    decider: Decider,
    rows: Sequence[Row],
    *,
    settings: EvaluationSettings | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[RowOutcome]:
    """One outcome for each row, in order, decided in batches of `batch_rows`; what the journal knows is not asked again, unless it
    failed.

    Raises:
        BadRows: two rows share an id.
        PolicyUnavailable: of a whole batch no row was decided; what was found before is in the journal.
    """
    settings = settings or EvaluationSettings()
    ids = row_ids(rows)
    found: dict[str, RowOutcome] = {}
    if journal is not None:
        known = journal.known()
        found = {row_id: known[row_id] for row_id in ids if row_id in known}
    for start in range(0, len(rows), settings.batch_rows):
        batch = range(start, min(start + settings.batch_rows, len(rows)))
        # what was begun is decided again as a whole: a batch of other rows could round otherwise
        is_new = any(ids[i] not in found for i in batch)
        places = [i for i in batch if is_new or _has_failed(found[ids[i]])]
        if places:
            outcomes = await decider.decide([rows[i] for i in places])
            if all(isinstance(outcome, Undecided) and outcome.fault is Fault.FAILED for outcome in outcomes):
                assert isinstance(outcomes[0], Undecided)
                raise PolicyUnavailable(f"none of {len(outcomes)} rows was answered: {outcomes[0].detail}")
            judged = [_judge(rows[i], ids[i], outcome) for i, outcome in zip(places, outcomes, strict=True)]
            if journal is not None:
                journal.keep(judged)
            found |= {outcome.id: outcome for outcome in judged}
        if progress:
            for done in batch:
                progress(done + 1, len(rows))
    return [found[row_id] for row_id in ids]


def report_of(
    rows: Sequence[Row],
    outcomes: Sequence[RowOutcome],
    *,
    model: str,
    adapter: str | None,
    seconds: float,
    settings: EvaluationSettings | None = None,
) -> EvaluationReport:
    """Args: outcomes: of the rows, in their order."""
    settings = settings or EvaluationSettings()
    pairs = [(row, found) for row, found in zip(rows, outcomes, strict=True) if isinstance(found, RowResult)]
    measured, results = [row for row, _ in pairs], [found for _, found in pairs]
    unmeasured = tuple(found for found in outcomes if isinstance(found, Unmeasured))
    sources = by_source(results, measured)
    return EvaluationReport(
        **dict(group_of(results, measured, settings)),
        per_source={name: group_of(*members, settings) for name, members in sources.items()},
        per_turns={name: figures_of(members, settings) for name, members in by_turns(results, measured).items()},
        model=model,
        adapter=adapter,
        unmeasured=unmeasured,
        too_long=tuple(found.id for found in unmeasured if found.fault is Fault.TOO_LONG),
        truncated=sum(result.truncated for result in results),
        seconds=seconds,
        rows=tuple(results),
    )


def row_ids(rows: Sequence[Row]) -> list[str]:
    """Each row's id, or its place where it has none. Raises: BadRows: two rows share an id."""
    ids = [str(row.extra_info.get("id", f"row-{place}")) for place, row in enumerate(rows)]
    double = [row_id for row_id, n in Counter(ids).items() if n > 1]
    if double:
        raise BadRows(f"rows share the id {double[0]!r}: give each row its own extra_info.id")
    return ids


def _judge(row: Row, row_id: str, outcome: Outcome) -> RowOutcome:
    if isinstance(outcome, Undecided):
        return Unmeasured(id=row_id, fault=outcome.fault, detail=outcome.detail)
    result = result_of(row, outcome.decision, outcome.text, truncated=outcome.truncated, confidence=outcome.confidence)
    return result.model_copy(update={"id": row_id})


def _has_failed(outcome: RowOutcome) -> bool:
    return isinstance(outcome, Unmeasured) and outcome.fault is Fault.FAILED
