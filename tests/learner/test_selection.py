import random
from collections import Counter

from learner.selection import select
from learner.settings import SelectionSettings
from runtime.traces.schema import VerdictOutcome
from tests.learner.case_rows import TIMER, WEATHER, clarifies, executes, judged

SMALL = SelectionSettings(min_rows=1, min_classes=1, max_class_share=1.0)


def _mixed(executes_n: int, clarifies_n: int):
    return [judged(f"e{i}", executes()) for i in range(executes_n)] + [
        judged(f"c{i}", clarifies()) for i in range(clarifies_n)
    ]


def test_a_judged_span_becomes_a_row() -> None:
    selection = select([judged("s", executes("Rome"), thread="t")], settings=SMALL)
    (row,) = selection.rows
    assert row.prompt[0]["content"] == "request s"
    assert row.truth.tool_calls[0].arguments == {"city": "Rome"}
    assert row.extra_info["thread_id"] == "t"
    assert row.extra_info["split"] == "train"
    assert selection.report.reason is None


def test_nothing_judged_is_a_result_with_a_reason() -> None:
    selection = select([], settings=SMALL)
    assert selection.rows == ()
    assert selection.report.reason is not None
    assert "no judged traces" in selection.report.reason


def test_what_is_left_out_is_counted_with_its_reason() -> None:
    spans = [
        judged("a", executes()),
        judged("b", None, VerdictOutcome.UNVERIFIED),
        judged("c", None),
        judged("d", {"decision": "dance"}),
        judged("e", executes(), tools=[TIMER]),
        judged("f", executes(), user="same", minute=1),
        judged("g", executes(), user="same", minute=2),
    ]
    report = select(spans, settings=SMALL).report
    assert report.considered == 7
    assert report.selected == 2
    assert report.left_out == {
        "unverified": 1,
        "no ground truth": 1,
        "unreadable ground truth": 1,
        "ground truth names a tool that was not shown": 1,
        "duplicate": 1,
    }


def test_of_contradicting_truths_the_later_stays() -> None:
    spans = [judged("old", executes("Rome"), user="same"), judged("new", executes("Oslo"), user="same", minute=5)]
    selection = select(spans, settings=SMALL)
    assert [row.extra_info["id"] for row in selection.rows] == ["new"]
    assert selection.report.left_out == {"contradicted by a later verdict": 1}


def test_never_train_tools_leave_no_trace_in_the_rows() -> None:
    spans = [judged("about", executes()), judged("beside", clarifies(), tools=[WEATHER, TIMER])]
    selection = select(spans, settings=SMALL, never_train=frozenset({"weather"}))
    (row,) = selection.rows
    assert row.extra_info["id"] == "beside"
    assert [tool["function"]["name"] for tool in row.tools] == ["timer"]
    assert selection.report.left_out == {"never-train tool": 1}


def test_a_conversation_that_used_a_never_train_tool_is_left_out() -> None:
    trace, span, verdict = judged("s", clarifies())
    used = {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": "{}"}}]}
    span = span.model_copy(update={"messages": (*span.messages, used)})
    selection = select([(trace, span, verdict)], settings=SMALL, never_train=frozenset({"weather"}))
    assert selection.report.left_out["never-train tool"] == 1


def test_hindsight_comes_first_and_survives_the_caps() -> None:
    spans = [judged(f"v{i}", executes(), thread="t") for i in range(9)]
    spans.append(judged("refuted", executes(), VerdictOutcome.REFUTED, thread="t"))
    selection = select(spans, settings=SMALL.model_copy(update={"max_per_thread": 3}))
    assert selection.rows[0].extra_info["id"] == "refuted"
    assert selection.report.left_out == {"thread cap": 7}


def test_one_tool_gives_no_more_than_its_cap() -> None:
    report = select(_mixed(10, 4), settings=SMALL.model_copy(update={"max_per_tool": 4})).report
    assert report.by_class == {"clarify": 4, "execute": 4}
    assert report.left_out == {"tool cap": 6}


def test_no_class_takes_more_than_its_share() -> None:
    settings = SelectionSettings(min_rows=1, max_class_share=0.6)
    counts = select(_mixed(100, 20), settings=settings).report.by_class
    assert counts["clarify"] == 20
    assert counts["execute"] == 30


def test_a_batch_of_one_class_is_refused() -> None:
    selection = select(_mixed(40, 0), settings=SelectionSettings())
    assert selection.rows == ()
    assert selection.report.reason == "only execute rows; 2 decision classes are needed"


def test_too_few_rows_are_refused() -> None:
    assert select(_mixed(3, 3), settings=SelectionSettings()).report.reason == "6 usable rows, 16 are needed"


def test_the_batch_stays_within_its_size() -> None:
    selection = select(_mixed(50, 50), settings=SMALL.model_copy(update={"max_rows": 30}))
    assert Counter(row.truth.decision for row in selection.rows) == {"execute": 15, "clarify": 15}


def test_of_a_batch_that_is_too_big_each_class_gives_in_proportion_and_corrected_rows_stay() -> None:
    spans = [
        *_mixed(60, 30),
        judged("only", {"decision": "refuse", "category": "unsafe"}),
        judged("corrected", executes(), VerdictOutcome.REFUTED),
    ]
    selection = select(spans, settings=SMALL.model_copy(update={"max_rows": 10}))
    assert selection.report.by_class == {"clarify": 3, "execute": 6, "refuse": 1}
    assert selection.rows[0].extra_info["id"] == "corrected"
    assert selection.report.left_out == {"batch is full": 82}


def test_the_choice_depends_on_the_seed_alone() -> None:
    spans = _mixed(30, 30)
    shuffled = random.Random(1).sample(spans, len(spans))
    settings = SMALL.model_copy(update={"max_rows": 20})
    ids = [[r.extra_info["id"] for r in select(s, settings=settings, seed=7).rows] for s in (spans, shuffled)]
    assert ids[0] == ids[1]
    assert ids[0] != [r.extra_info["id"] for r in select(spans, settings=settings, seed=8).rows]
