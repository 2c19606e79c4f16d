import json

import pytest

from learner.baselines import BASELINES
from learner.errors import BadRows
from learner.evaluation import EvaluationReport, evaluate
from learner.figures import macro_f1
from learner.rows import Row
from learner.settings import EvaluationSettings
from runtime.errors import PolicyUnavailable
from tests.learner.case_rows import PlainRenderer, ScriptedPolicy, by_row, mixed_rows, right_text, row, written

QUICK = EvaluationSettings(resamples=200)


async def _run(rows: list[Row], decide, **kwargs) -> EvaluationReport:
    policy = ScriptedPolicy(by_row(rows, decide), context_length=kwargs.pop("context_length", 4096))
    return await evaluate(policy, PlainRenderer(), rows, settings=QUICK, **kwargs)


async def test_a_policy_that_knows_the_truth_earns_all() -> None:
    report = await _run(mixed_rows(30), lambda r, _: right_text(r))
    assert report.overall is not None
    assert report.overall.reward.mean == 1.0
    assert report.overall.exact.mean == 1.0
    assert report.macro_f1 == 1.0
    assert set(report.per_class) == {"execute", "clarify", "refuse"}
    assert report.per_class["execute"].n == 18
    assert report.confusion["clarify"]["clarify"] == 6


async def test_figures_tell_the_classes_apart() -> None:
    rows = mixed_rows(50)
    report = await _run(rows, lambda r, _: right_text(r) if r.truth.decision == "execute" else "<tool_call>{")
    assert report.per_class["execute"].exact.mean == 1.0
    assert report.per_class["refuse"].reward.mean == -0.25
    assert report.per_class["refuse"].invalid_rate == 1.0
    assert report.confusion["refuse"]["invalid"] == 10
    assert report.macro_f1 == pytest.approx(1 / 3)
    assert report.overall is not None
    assert report.overall.decision_accuracy.mean == pytest.approx(0.6)
    assert report.overall.reward.low < report.overall.reward.mean < report.overall.reward.high


async def test_a_report_tells_how_often_the_policy_is_right_when_it_is_so_sure() -> None:
    rows = mixed_rows(10)
    report = await _run(rows, lambda r, _: right_text(r) if r.truth.decision == "execute" else written("weather"))
    assert report.reliability is not None
    assert report.call_reliability is not None
    assert (report.reliability.n, report.call_reliability.n) == (10, 10)
    assert sum(band.n * band.exact for band in report.reliability.bands) == pytest.approx(6)
    assert all(result.confidence is not None and 0 <= result.confidence <= 1 for result in report.rows)
    assert set(report.per_source) == {r.data_source for r in rows}
    assert all(group.reliability is not None for group in report.per_source.values())


async def test_results_are_kept_per_row_with_what_was_wrong() -> None:
    report = await _run(mixed_rows(5), lambda r, _: written("weather", city="Rome"))
    first = report.rows[0]
    assert (first.id, first.truth, first.decided, first.exact) == ("r0", "execute", "execute", False)
    assert first.reasons == ("wrong arguments of weather: city",)
    assert "Rome" in first.text


async def test_rows_too_long_are_named_and_not_measured() -> None:
    rows = [*mixed_rows(5), row("long", "x" * 500, decision="refuse")]
    report = await _run(rows, lambda r, _: right_text(r), context_length=100)
    assert report.too_long == ("long",)
    assert len(report.rows) == 5


async def test_no_rows_give_an_empty_report() -> None:
    report = await _run([], lambda r, _: "")
    assert report.overall is None
    assert report.baselines == {}


async def test_the_report_is_json() -> None:
    report = await _run(mixed_rows(10), lambda r, _: right_text(r))
    text = json.dumps(report.model_dump(mode="json"), allow_nan=False)
    assert EvaluationReport.model_validate_json(text) == report


async def test_baselines_are_measured_by_the_same_rule() -> None:
    report = await _run(mixed_rows(60), lambda r, _: right_text(r))
    assert set(report.baselines) == set(BASELINES)
    assert report.baselines["always_refuse"]["reward"] == pytest.approx(0.2)
    assert report.baselines["never_call"]["reward"] == 0.0
    assert report.baselines["call_all"]["reward"] == 0.0


async def test_progress_counts_every_row() -> None:
    seen: list[tuple[int, int]] = []
    await _run(mixed_rows(7), lambda r, _: "", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 7) for n in range(1, 8)]


async def test_two_rows_of_one_id_are_refused() -> None:
    with pytest.raises(BadRows, match="'a'"):
        await _run([row("a", decision="refuse"), row("a", decision="refuse")], lambda r, _: "")


async def test_a_policy_that_fails_ends_the_measurement() -> None:
    def fail(r: Row, _: str | None) -> str:
        raise PolicyUnavailable("down")

    with pytest.raises(PolicyUnavailable):
        await _run(mixed_rows(10), fail)


def test_macro_f1_is_the_mean_over_kinds_that_occur() -> None:
    kinds = ("execute", "clarify", "refuse", "answer", "invalid")
    zero = dict.fromkeys(kinds, 0)
    confusion = {"execute": zero | {"execute": 2, "clarify": 2}, "clarify": zero | {"clarify": 2}}
    assert macro_f1(confusion) == pytest.approx((2 * 2 / 6 + 2 * 2 / 6) / 2)
    assert macro_f1({}) == 0.0
