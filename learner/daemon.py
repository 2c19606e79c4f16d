"""The learner's cycle: select, train, evaluate, gate, publish.

`run_once` can be killed at any moment: training works in a folder of its own that the next run clears, an adapter
appears whole or not at all, and the pointer moves last. One learner works on a home at a time.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from learner.contrasts import contrasts
from learner.errors import LearnerBusy, LearnerError
from learner.evaluation import EvaluationReport, evaluate
from learner.gate import GateReport, decide
from learner.publisher import Published, Publisher
from learner.rows import Row
from learner.selection import Selection, SelectionReport, select
from learner.serving_order import in_serving_order
from learner.settings import LearnerSettings
from learner.training_report import TrainingReport
from learner.variants import variants
from runtime.database import Clock, utc_now
from runtime.policy.base import Policy
from runtime.policy.deployment import AdapterRecord, Deployment
from runtime.prompt import Renderer
from runtime.traces.store import TraceStore
from runtime.verify.rules import RefuseRule
from tools.retrieval import Retriever


class Stage(StrEnum):
    SELECT = "select"
    TRAIN = "train"
    EVALUATE_INCUMBENT = "evaluate incumbent"
    EVALUATE_CANDIDATE = "evaluate candidate"
    GATE = "gate"
    PUBLISH = "publish"


class Outcome(StrEnum):
    PROMOTED = "promoted"
    REJECTED = "rejected"
    """The gate refused the candidate; all is as it was."""
    NO_SIGNAL = "no_signal"
    """Every group of rollouts was equal, and nothing was imitated; all is as it was."""
    NOTHING_TO_LEARN = "nothing_to_learn"
    """Too few rows, or nothing new, or nothing to measure on."""


Progress = Callable[[Stage, int, int], None]
"""Called with the stage, how much of it is done, and of how much; during training from another thread."""

Train = Callable[..., TrainingReport]
"""`learner.trainer.train`, or what stands in for it."""


class CycleReport(BaseModel):
    """One cycle, in full; JSON with `model_dump(mode="json")`."""

    model_config = ConfigDict(frozen=True)

    id: str
    started_at: datetime
    seconds: float
    outcome: Outcome
    reason: str
    incumbent: str | None
    """Adapter that served when the cycle began; None is the base."""
    batch: str | None = None
    """Digest of the training rows and the incumbent: the same again would teach the same."""
    selection: SelectionReport
    extra_rows: int = 0
    """Trained on beside the selected ones."""
    training: TrainingReport | None = None
    before: EvaluationReport | None = None
    after: EvaluationReport | None = None
    gate: GateReport | None = None
    published: Published | None = None


@dataclass(frozen=True, slots=True)
class Learner:
    """What a cycle works with."""

    store: TraceStore
    deployment: Deployment
    policy: Policy
    """Measures candidates; its base must be `base`."""
    renderer: Renderer
    base: Path
    """Folder of the base model."""
    home: Path
    """Holds adapters/, runs/ and what training leaves for a while."""
    retriever: Retriever
    """Puts the tools of all rows but the traces' in the order in which serving would show them."""
    evaluation_rows: Sequence[Row]
    """On tools that are never trained on."""
    never_train: frozenset[str] = frozenset()
    extra_rows: Sequence[Row] = ()
    """Trained on beside the traces and what follows from them, when there are traces: a replay against forgetting. Of more than
    the run has steps for, some from all over."""
    rules: Sequence[RefuseRule] = ()
    """What the operator never serves, for contrasts; their verdicts are in the store."""
    settings: LearnerSettings = field(default_factory=LearnerSettings)
    train: Train | None = None
    """None: `learner.trainer.train`."""
    clock: Clock = utc_now


async def run_once(
    learner: Learner, *, progress: Progress | None = None, known_batch: str | None = None
) -> CycleReport:
    """One cycle.

    Args:
        known_batch: digest of a batch that was learnt from already; the same again is left alone.

    Raises:
        LearnerBusy: another learner works on this home.
        LearnerError, RuntimeFault: a stage broke; what was served before still is.
    """
    with _alone(learner.home):
        cycle = _Cycle(learner, progress or (lambda stage, done, total: None))
        report = await cycle.run(known_batch)
        _keep(learner.home / "runs", report)
        return report


class _Cycle:
    """One run through the stages."""

    def __init__(self, learner: Learner, progress: Progress) -> None:
        self._learner, self._progress = learner, progress
        self._publisher = Publisher(
            learner.deployment, learner.home / "adapters", base=learner.base, clock=learner.clock
        )
        self._publisher.clean()
        self._work = learner.home / "work"
        shutil.rmtree(self._work, ignore_errors=True)
        self._started = learner.clock()
        self._incumbent = learner.deployment.current()
        self._evaluation_rows: Sequence[Row] = ()

    async def run(self, known_batch: str | None) -> CycleReport:
        selection = self._select()
        facts: dict[str, Any] = {"selection": selection.report}
        if idle := self._why_idle(selection, facts, known_batch):
            return self._report(Outcome.NOTHING_TO_LEARN, idle, **facts)
        beside = await asyncio.to_thread(self._beside, selection.rows)
        facts["extra_rows"] = len(beside)
        facts["training"] = training = await self._train([*selection.rows, *beside])
        if training.adapter_dir is None:
            return self._report(
                Outcome.NO_SIGNAL,
                "the rewards within every group were equal, and there was nothing to imitate",
                **facts,
            )
        self._evaluation_rows = await asyncio.to_thread(
            in_serving_order, self._learner.evaluation_rows, self._learner.retriever
        )
        facts["before"] = before = await self._evaluate_incumbent()
        facts["after"] = after = await self._evaluate_candidate(training.adapter_dir)
        facts["gate"] = gate = self._gate(before, after)
        facts["published"] = published = self._publish(selection, training, gate, before, after)
        shutil.rmtree(self._work, ignore_errors=True)
        return self._report(Outcome.PROMOTED if published.promoted else Outcome.REJECTED, published.reason, **facts)

    def _select(self) -> Selection:
        """As many rows as the run has steps for beside others, which is half of them at least: drawn from all that there are, most
        of what users corrected would not be met."""
        learner, settings = self._learner, self._learner.settings
        room, others = settings.training.prompts, settings.variants + settings.contrasts + len(learner.extra_rows)
        most = max(-(-room // 2), room - others, settings.selection.min_rows)
        self._progress(Stage.SELECT, 0, 1)
        selection = select(
            learner.store.judged_spans(),
            settings=settings.selection.model_copy(update={"max_rows": min(most, settings.selection.max_rows)}),
            never_train=learner.never_train,
            seed=settings.seed,
        )
        self._progress(Stage.SELECT, 1, 1)
        return selection

    def _why_idle(self, selection: Selection, facts: dict[str, Any], known_batch: str | None) -> str | None:
        if selection.report.reason:
            return selection.report.reason
        if not self._learner.evaluation_rows:
            return "no evaluation rows: a candidate could not be measured"
        facts["batch"] = batch = _batch_digest(selection.rows, self._incumbent)
        return "nothing new since the last cycle" if batch == known_batch else None

    def _beside(self, rows: Sequence[Row]) -> list[Row]:
        """What is trained on beside the selected rows: variants, contrasts and a replay share the steps that are left."""
        learner, settings = self._learner, self._learner.settings
        room = max(0, settings.training.prompts - len(rows))
        replayed = _evenly(learner.extra_rows, max(room // 2, room - settings.variants - settings.contrasts))
        room -= len(replayed)
        usual = [*rows, *replayed]
        against = contrasts(rows, usual, learner.rules, min(settings.contrasts, room), settings.seed)
        made = variants(rows, min(settings.variants, room - len(against)), settings.seed)
        return in_serving_order([*made, *against, *replayed], learner.retriever)

    async def _train(self, rows: Sequence[Row]) -> TrainingReport:
        learner, stop = self._learner, threading.Event()
        self._progress(Stage.TRAIN, 0, learner.settings.training.steps)
        run = asyncio.create_task(
            asyncio.to_thread(
                learner.train or _trainer(),
                rows,
                model=learner.base,
                renderer=learner.renderer,
                out_dir=self._work / "candidate",
                parent=self._incumbent.path if self._incumbent else None,
                settings=learner.settings.training,
                progress=lambda done, total: self._progress(Stage.TRAIN, done, total),
                stop=stop,
            )
        )
        try:
            return await asyncio.shield(run)
        except asyncio.CancelledError:
            stop.set()  # a thread cannot be cancelled: it ends after its step
            with suppress(LearnerError):
                await run
            raise

    async def _evaluate_incumbent(self) -> EvaluationReport:
        policy, incumbent = self._learner.policy, self._incumbent
        if incumbent is None:
            return await self._evaluate(None, Stage.EVALUATE_INCUMBENT)
        if incumbent.name in await policy.adapters():
            return await self._evaluate(incumbent.name, Stage.EVALUATE_INCUMBENT)
        async with _resident(policy, incumbent.name, incumbent.path):
            return await self._evaluate(incumbent.name, Stage.EVALUATE_INCUMBENT)

    async def _evaluate_candidate(self, folder: Path) -> EvaluationReport:
        name = f"candidate-{uuid.uuid4().hex[:12]}"  # a policy never sees a name twice
        async with _resident(self._learner.policy, name, folder):
            return await self._evaluate(name, Stage.EVALUATE_CANDIDATE)

    async def _evaluate(self, adapter: str | None, stage: Stage) -> EvaluationReport:
        learner = self._learner
        return await evaluate(
            learner.policy,
            learner.renderer,
            self._evaluation_rows,
            adapter=adapter,
            settings=learner.settings.evaluation,
            progress=lambda done, total: self._progress(stage, done, total),
        )

    def _gate(self, before: EvaluationReport, after: EvaluationReport) -> GateReport:
        self._progress(Stage.GATE, 0, 1)
        gate = decide(before, after, settings=self._learner.settings.gate)
        self._progress(Stage.GATE, 1, 1)
        return gate

    def _publish(
        self,
        selection: Selection,
        training: TrainingReport,
        gate: GateReport,
        before: EvaluationReport,
        after: EvaluationReport,
    ) -> Published:
        self._progress(Stage.PUBLISH, 0, 1)
        published = self._publisher.publish(
            training,
            gate,
            parent=self._incumbent,
            batch_ids=[str(row.extra_info["id"]) for row in selection.rows],
            figures={"before": _figures(before), "after": _figures(after)},
        )
        self._progress(Stage.PUBLISH, 1, 1)
        return published

    def _report(self, outcome: Outcome, reason: str, **facts: Any) -> CycleReport:
        return CycleReport(
            id=f"{self._started:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}",
            started_at=self._started,
            seconds=(self._learner.clock() - self._started).total_seconds(),
            outcome=outcome,
            reason=reason,
            incumbent=self._incumbent.name if self._incumbent else None,
            **facts,
        )


def _evenly(rows: Sequence[Row], most: int) -> Sequence[Row]:
    """So many from all over."""
    return rows if len(rows) <= most else [rows[at * len(rows) // most] for at in range(most)]


async def run_forever(
    cycle: Callable[[str | None], Awaitable[CycleReport]],
    *,
    interval_s: float,
    on_report: Callable[[CycleReport], None],
    on_error: Callable[[Exception], None],
) -> None:
    """Cycles until cancelled. A cycle that breaks is told to `on_error`, and the next one comes all the same.

    Args:
        cycle: takes the digest of the last batch that was learnt from, to be passed on as `known_batch`.
        interval_s: pause after each cycle, in seconds.
    """
    known: str | None = None
    while True:
        try:
            report = await cycle(known)
        except Exception as e:  # whatever broke this cycle (database, policy, training) may be gone at the next
            on_error(e)
        else:
            known = report.batch or known
            on_report(report)
        await asyncio.sleep(interval_s)


def _trainer() -> Train:
    from learner.trainer import train  # seconds to import, and not needed when there is nothing to learn

    return train


@asynccontextmanager
async def _resident(policy: Policy, name: str, folder: Path) -> AsyncIterator[None]:
    await policy.load_adapter(name, folder)
    try:
        yield
    finally:
        await policy.unload_adapter(name)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Holds the home's lock. The system lets go of it when the process ends, however it ends, so none goes stale; the
    process id inside is for the message."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "learner.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise LearnerBusy(f"a learner (process {holder}) works on {str(home)!r}: wait for it or stop it") from e
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _batch_digest(rows: Sequence[Row], incumbent: AdapterRecord | None) -> str:
    parts = sorted(row.model_dump_json() for row in rows)
    return hashlib.sha256("\n".join([incumbent.name if incumbent else "", *parts]).encode()).hexdigest()


def _figures(report: EvaluationReport) -> dict[str, Any]:
    return report.model_dump(mode="json", exclude={"rows"})


def _keep(folder: Path, report: CycleReport) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{report.id}.tmp"
    temporary.write_text(report.model_dump_json(indent=1), encoding="utf-8")
    temporary.replace(folder / f"{report.id}.json")
