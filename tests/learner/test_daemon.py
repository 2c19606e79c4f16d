"""A cycle: what it says when there is nothing to do, and that whatever happens the incumbent serves on."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from learner.daemon import CycleReport, Learner, Outcome, Stage, run_forever, run_once
from learner.errors import LearnerBusy, TrainingFailed, TrainingStopped
from learner.rows import Row
from learner.selection import SelectionReport
from learner.settings import EvaluationSettings, GateSettings, LearnerSettings, SelectionSettings, TrainingSettings
from learner.trainer import train
from learner.training_report import TrainingReport
from runtime.database import open_database
from runtime.decision import RefusalCategory
from runtime.policy.deployment import AdapterState, Deployment
from runtime.policy.embedded import EmbeddedPolicy
from runtime.policy.manifest import Probe
from runtime.prompt import Renderer
from runtime.traces.schema import VerdictOutcome
from runtime.traces.store import TraceStore
from runtime.verify.rules import RefuseRule
from tests.learner.case_rows import (
    NOON,
    PlainRenderer,
    ScriptedPolicy,
    by_row,
    clarifies,
    executes,
    judged,
    mixed_rows,
    right_text,
)
from tests.tiny_model import build_tiny_model
from tools.retrieval import Retriever

ROWS = mixed_rows(90)
SETTINGS = LearnerSettings(selection=SelectionSettings(min_rows=4), gate=GateSettings(resamples=200, min_rows=30))


class FakeTrainer:
    """Leaves an adapter of the right form; records what it was asked."""

    def __init__(self, *, signal: bool = True) -> None:
        self.rows: Sequence[Row] = ()
        self.parents: list[Path | None] = []
        self._signal = signal

    def __call__(self, rows: Sequence[Row], *, out_dir: Path, parent: Path | None, **rest: Any) -> TrainingReport:
        self.rows = rows
        self.parents.append(parent)
        rest["progress"](1, 1)
        out_dir.mkdir(parents=True)
        weights = {"base_model.model.w.lora_A.weight": torch.full((4, 2), float(len(self.parents)))}
        save_file(weights, out_dir / "adapter_model.safetensors")
        (out_dir / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
        return TrainingReport(
            adapter_dir=out_dir if self._signal else None,
            parent=str(parent) if parent else None,
            steps=1,
            rewards=(0.5,),
            groups_total=2,
            groups_equal=0 if self._signal else 2,
            batches_without_signal=0,
            no_signal=not self._signal,
            too_long=(),
            drift=0.1,
            kl=None,
            completion_tokens=10,
            shared_prompts=True,
            seconds=1.0,
            probes=(Probe(prompt_ids=(1,), completion_ids=(2,), logprobs=(-0.1,)),),
        )


def _better(row: Row, adapter: str | None) -> str:
    """Any adapter knows the truth; the base only where a call is wanted."""
    return right_text(row) if adapter or row.truth.decision == "execute" else "Done."


def _worse(row: Row, adapter: str | None) -> str:
    return "Done." if adapter else right_text(row)


@pytest.fixture
def learner(tmp_path: Path) -> Learner:
    engine = open_database(f"sqlite:///{tmp_path / 'hone.db'}")
    base = tmp_path / "base"
    base.mkdir()
    save_file({"w": torch.zeros(2)}, base / "model.safetensors")
    (base / "config.json").write_text("{}")
    return Learner(
        store=TraceStore(engine),
        deployment=Deployment(engine),
        policy=ScriptedPolicy(by_row(ROWS, _better)),
        renderer=PlainRenderer(),
        base=base,
        home=tmp_path / "home",
        retriever=Retriever(None),
        evaluation_rows=ROWS,
        settings=SETTINGS,
        train=FakeTrainer(),
    )


def _record_turns(learner: Learner, n: int = 6, start: int = 0) -> None:
    for i in range(start, start + n):
        trace, _, verdict = judged(f"s{i}", executes() if i % 2 else clarifies())
        learner.store.record(trace)
        learner.store.record_verdicts([verdict])


def _worsened(learner: Learner) -> Learner:
    return replace(learner, policy=ScriptedPolicy(by_row(ROWS, _worse)))


async def test_a_better_candidate_serves_after_one_cycle(learner: Learner) -> None:
    _record_turns(learner)
    report = await run_once(learner)
    assert report.outcome is Outcome.PROMOTED
    assert report.published is not None
    current = learner.deployment.current()
    assert current is not None
    assert current.name == report.published.name
    assert report.before is not None
    assert report.after is not None
    assert report.before.overall is not None
    assert report.after.overall is not None
    assert report.before.overall.reward.mean < report.after.overall.reward.mean
    trainer = learner.train
    assert isinstance(trainer, FakeTrainer)
    selected = [r for r in trainer.rows if "variant" not in r.extra_info]
    assert current.manifest.batch_ids == tuple(r.extra_info["id"] for r in selected)
    assert await learner.policy.adapters() == frozenset()
    assert not (learner.home / "work").exists()


async def test_a_worse_candidate_leaves_all_as_it_was_and_says_why(learner: Learner) -> None:
    _record_turns(learner)
    report = await run_once(_worsened(learner))
    assert report.outcome is Outcome.REJECTED
    assert "no gain beyond chance" in report.reason
    assert learner.deployment.current() is None
    assert [record.state for record in learner.deployment.list()] == [AdapterState.REJECTED]


async def test_the_next_cycle_goes_on_from_the_incumbent(learner: Learner) -> None:
    _record_turns(learner)
    first = await run_once(learner)
    _record_turns(learner, start=6)
    second = await run_once(learner)
    assert first.published is not None
    assert learner.train.parents == [None, first.published.path.resolve()]  # type: ignore[union-attr]
    assert second.incumbent == first.published.name
    assert second.outcome is Outcome.REJECTED
    assert second.before is not None
    assert second.before.adapter == first.published.name


async def test_nothing_verified_is_said_and_not_trained(learner: Learner) -> None:
    report = await run_once(learner)
    assert report.outcome is Outcome.NOTHING_TO_LEARN
    assert report.reason.startswith("no judged traces yet")
    assert report.training is None
    assert learner.train.parents == []  # type: ignore[union-attr]


async def test_without_evaluation_rows_nothing_is_trained(learner: Learner) -> None:
    _record_turns(learner)
    report = await run_once(replace(learner, evaluation_rows=()))
    assert report.outcome is Outcome.NOTHING_TO_LEARN
    assert "no evaluation rows" in report.reason


async def test_the_same_batch_is_not_learnt_twice(learner: Learner) -> None:
    _record_turns(learner)
    worse = _worsened(learner)
    first = await run_once(worse)
    again = await run_once(worse, known_batch=first.batch)
    assert again.outcome is Outcome.NOTHING_TO_LEARN
    assert again.reason == "nothing new since the last cycle"
    _record_turns(learner, start=6)
    assert (await run_once(worse, known_batch=first.batch)).outcome is Outcome.REJECTED


async def test_a_run_without_signal_publishes_nothing(learner: Learner) -> None:
    _record_turns(learner)
    report = await run_once(replace(learner, train=FakeTrainer(signal=False)))
    assert report.outcome is Outcome.NO_SIGNAL
    assert report.training is not None
    assert report.training.groups_equal == report.training.groups_total
    assert learner.deployment.list() == []


async def test_never_train_tools_are_not_trained_on(learner: Learner) -> None:
    _record_turns(learner, n=20)
    trainer = FakeTrainer()
    settings = SETTINGS.model_copy(update={"selection": SelectionSettings(min_rows=4, min_classes=1)})
    await run_once(replace(learner, train=trainer, never_train=frozenset({"weather"}), settings=settings))
    assert trainer.rows
    assert not any(tool["function"]["name"] == "weather" for row in trainer.rows for tool in row.tools)


async def test_extra_rows_are_trained_on_beside_the_traces(learner: Learner) -> None:
    _record_turns(learner)
    trainer = FakeTrainer()
    await run_once(replace(learner, train=trainer, extra_rows=ROWS[:3]))
    assert [row for row in trainer.rows if row.data_source != "traces"] == ROWS[:3]
    assert sum("variant" in row.extra_info for row in trainer.rows) == 10


@pytest.mark.parametrize(("contrasts", "made"), [(200, 5), (2, 2), (0, 0)])
async def test_what_broke_a_rule_is_declined_in_other_requests_beside_the_same_without_it(
    learner: Learner, contrasts: int, made: int
) -> None:
    _record_turns(learner, n=10)
    declined = {"decision": "refuse", "category": "not_permitted"}
    trace, _, verdict = judged("cash", declined, VerdictOutcome.REFUTED, user="a cake, paid in cash")
    learner.store.record(trace)
    learner.store.record_verdicts([verdict])
    trainer = FakeTrainer()
    rule = RefuseRule(pattern=r"\bin cash\b", category=RefusalCategory.NOT_PERMITTED)
    settings = SETTINGS.model_copy(update={"contrasts": contrasts})
    await run_once(replace(learner, train=trainer, rules=[rule], settings=settings))
    found = [row for row in trainer.rows if row.extra_info.get("variant") == "against a rule"]
    assert len(found) == made  # at most each request that calls a tool, once
    asked = {row.extra_info["id"]: row.prompt[-1]["content"] for row in trainer.rows}
    for row in found:
        assert (row.truth.decision, row.truth.category) == ("refuse", "not_permitted")
        assert "in cash" in row.prompt[-1]["content"]
        assert "in cash" not in asked[row.extra_info["follows_from"]]


@pytest.mark.parametrize(("extra", "replayed"), [(3, 3), (90, 6)])
async def test_of_more_rows_than_steps_half_are_traces_corrected_ones_first(
    learner: Learner, extra: int, replayed: int
) -> None:
    for i in range(40):
        trace, _, verdict = judged(f"s{i}", executes() if i % 2 else clarifies())
        outcome = VerdictOutcome.REFUTED if i < 4 else VerdictOutcome.VERIFIED
        learner.store.record(trace)
        learner.store.record_verdicts([verdict.model_copy(update={"outcome": outcome})])
    trainer = FakeTrainer()
    settings = SETTINGS.model_copy(update={"training": TrainingSettings(imitation_steps=0, max_steps=3)})
    report = await run_once(replace(learner, train=trainer, extra_rows=ROWS[:extra], settings=settings))
    kept = [row for row in trainer.rows if row.data_source == "traces" and "variant" not in row.extra_info]
    assert len(trainer.rows) == 24
    assert report.selection.selected == len(kept) == 12
    assert report.selection.by_class == {"clarify": 6, "execute": 6}
    corrected = Counter(row.truth.decision for row in kept if row.extra_info["outcome"] == "refuted")
    assert corrected == {"execute": 2, "clarify": 2}
    assert report.extra_rows == 12
    assert sum("variant" in row.extra_info for row in trainer.rows) == 12 - replayed


async def test_the_report_is_kept_as_json(learner: Learner) -> None:
    _record_turns(learner)
    report = await run_once(learner)
    (file,) = (learner.home / "runs").iterdir()
    assert CycleReport.model_validate_json(file.read_text()) == report


async def test_progress_passes_through_the_stages_in_order(learner: Learner) -> None:
    _record_turns(learner)
    seen: list[Stage] = []
    await run_once(learner, progress=lambda stage, done, total: seen.append(stage))
    assert list(dict.fromkeys(seen)) == list(Stage)


# PEFT asks transformers for a property under its old name.
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
async def test_a_cycle_with_a_real_model_publishes_what_it_trained(learner: Learner, tmp_path: Path) -> None:
    _record_turns(learner)
    base = build_tiny_model(tmp_path / "tiny")
    policy = EmbeddedPolicy.load(base, threads=1)
    training = TrainingSettings(
        imitation_steps=0,
        max_steps=2,
        prompts_per_step=2,
        rollouts_per_prompt=4,
        learning_rate=0.02,
        rank=4,
        max_completion_tokens=8,
    )
    real = replace(
        learner,
        base=base,
        policy=policy,
        renderer=Renderer.load(base),
        evaluation_rows=ROWS[:30],
        settings=SETTINGS.model_copy(
            update={"training": training, "evaluation": EvaluationSettings(max_tokens=8, resamples=100)}
        ),
        train=partial(train, reward=lambda text, of: len(set(text)) / 10),  # one that a random model can raise
    )
    try:
        report = await run_once(real)
        assert report.outcome is Outcome.REJECTED  # a random model gets no decision right, before or after
        assert report.training is not None
        assert report.training.drift > 0
        (record,) = learner.deployment.list()
        await policy.load_adapter(record.name, record.path)
        for probe in record.manifest.probes:
            served = await policy.score(probe.prompt_ids, probe.completion_ids, adapter=record.name)
            assert served == pytest.approx(probe.logprobs, abs=1e-3)
    finally:
        await policy.close()


async def test_a_failed_training_leaves_the_incumbent_and_the_lock_free(learner: Learner) -> None:
    _record_turns(learner)

    def fails(rows: Sequence[Row], **_: Any) -> TrainingReport:
        raise TrainingFailed("out of memory")

    with pytest.raises(TrainingFailed):
        await run_once(replace(learner, train=fails))
    assert learner.deployment.list() == []
    assert (await run_once(learner)).outcome is Outcome.PROMOTED


async def test_a_cancelled_cycle_stops_the_training_first(learner: Learner) -> None:
    _record_turns(learner)
    begun, ended = threading.Event(), threading.Event()

    def slow(rows: Sequence[Row], *, stop: threading.Event, **_: Any) -> TrainingReport:
        begun.set()
        assert stop.wait(10)
        ended.set()
        raise TrainingStopped("stopped")

    task = asyncio.create_task(run_once(replace(learner, train=slow)))
    assert await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert (await run_once(learner)).outcome is Outcome.PROMOTED


async def test_two_learners_never_share_a_home(learner: Learner) -> None:
    _record_turns(learner)

    def meddles(rows: Sequence[Row], **_: Any) -> TrainingReport:
        with pytest.raises(LearnerBusy, match=str(os.getpid())):
            asyncio.run(run_once(learner))
        raise TrainingFailed("done")

    with pytest.raises(TrainingFailed, match="done"):
        await run_once(replace(learner, train=meddles))


async def test_leftovers_of_a_killed_run_are_cleared(learner: Learner) -> None:
    _record_turns(learner)
    (learner.home / "work" / ".candidate.training").mkdir(parents=True)
    (learner.home / "adapters" / ".tmp-dead").mkdir(parents=True)
    (learner.home / "learner.lock").write_text("999999999")
    report = await run_once(learner)
    assert report.outcome is Outcome.PROMOTED
    assert report.published is not None
    assert [p.name for p in (learner.home / "adapters").iterdir()] == [report.published.name]


HOLDER = """
import sys, time
from pathlib import Path
from learner.daemon import _alone
with _alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


async def test_a_killed_learner_leaves_no_lock(learner: Learner) -> None:
    _record_turns(learner)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(learner.home)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LearnerBusy, match=str(holder.pid)):
            await run_once(learner)
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
    assert (await run_once(learner)).outcome is Outcome.PROMOTED


def _empty_report(batch: str | None) -> CycleReport:
    selection = SelectionReport(considered=0, selected=0, by_class={}, by_outcome={}, left_out={})
    return CycleReport(
        id="r",
        started_at=NOON,
        seconds=0.0,
        outcome=Outcome.NOTHING_TO_LEARN,
        reason="",
        incumbent=None,
        batch=batch,
        selection=selection,
    )


async def test_the_daemon_survives_a_broken_cycle_and_remembers_its_batch() -> None:
    known: list[str | None] = []
    errors: list[Exception] = []
    reports: list[CycleReport] = []
    enough = asyncio.Event()

    async def cycle(batch: str | None) -> CycleReport:
        known.append(batch)
        if len(known) == 2:
            raise RuntimeError("the database is down")
        if len(known) == 4:
            enough.set()
        return _empty_report("b1" if len(known) == 1 else None)

    daemon = asyncio.create_task(run_forever(cycle, interval_s=0.001, on_report=reports.append, on_error=errors.append))
    async with asyncio.timeout(10):
        await enough.wait()
    daemon.cancel()
    with pytest.raises(asyncio.CancelledError):
        await daemon
    assert known[:4] == [None, "b1", "b1", "b1"]
    assert [str(e) for e in errors] == ["the database is down"]
    assert len(reports) >= 2


def test_importing_the_daemon_does_not_import_a_trainer() -> None:
    code = "import sys, learner.daemon; sys.exit('trl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
