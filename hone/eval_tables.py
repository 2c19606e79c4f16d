"""What `hone eval` says: tables for people, and JSON with stable keys for programs (docs/evaluation.md). Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from learner.bootstrap import Interval
from learner.comparison import Comparison, Discordance
from learner.evaluation import EvaluationReport
from learner.figures import Figures, Group, RowResult
from learner.measured_rows import MeasuredRows
from learner.reliability import Reliability

SHARES = ("reward", "exact", "decision_accuracy", "tool_accuracy", "argument_accuracy")
SHOWN_NEAR_MISSES = 10
SHOWN_IDS = 5


def as_json(
    report: EvaluationReport,
    rows: MeasuredRows,
    *,
    policy: Mapping[str, Any],
    data: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Nothing in it depends on the clock or on where the files lie: the same policy on the same rows gives the same bytes."""
    return {
        "policy": dict(policy),
        "data": dict(data),
        "settings": dict(settings),
        **_group(report),
        "per_source": {name: _group(group) for name, group in report.per_source.items()},
        "per_turns": {name: _figures(figures) for name, figures in report.per_turns.items()},
        "not_measured": [
            *({**asdict(record), "place": record.place.rpartition("/")[2]} for record in rows.unfit),
            *(row.model_dump(mode="json") for row in report.unmeasured),
        ],
        "remarks": {remark.value: list(ids) for remark, ids in rows.remarks.items()},
        "truncated": report.truncated,
        "near_misses": dict(near_miss_counts(report.rows)),
        "rows": [row.model_dump(mode="json") for row in report.rows],
    }


def _group(group: Group) -> dict[str, Any]:
    overall: dict[str, Any] = _figures(group.overall) if group.overall else {"n": 0}
    interval = group.macro_f1_interval
    if interval is not None:
        overall["intervals"]["macro_f1"] = [interval.low, interval.high]
    return {
        **overall,
        "macro_f1": group.macro_f1,
        "confusion": group.confusion,
        "per_class": {name: _figures(figures) for name, figures in group.per_class.items()},
        "reliability": _reliability(group.reliability),
        "call_reliability": _reliability(group.call_reliability),
        "baselines": group.baselines,
    }


def _reliability(found: Reliability | None) -> dict[str, Any] | None:
    return found.model_dump(mode="json") if found is not None else None


def _figures(figures: Figures) -> dict[str, Any]:
    found: dict[str, Interval | None] = {name: getattr(figures, name) for name in SHARES}
    return {
        "n": figures.n,
        **{name: interval.mean if interval else None for name, interval in found.items()},
        "invalid_rate": figures.invalid_rate,
        "intervals": {name: [interval.low, interval.high] for name, interval in found.items() if interval},
    }


def near_miss_counts(results: Sequence[RowResult]) -> Counter[str]:
    """Wrong arguments of rows with the right tools, by kind."""
    return Counter(miss.kind.value for result in results for miss in result.near_misses)


def show_report(console: Console, report: EvaluationReport, rows: MeasuredRows) -> None:
    console.print(_main_table(report))
    console.print(_confusion(report.confusion))
    _show_reliability(console, report)
    _show_near_misses(console, report.rows)
    _show_left_out(console, report, rows)


def _main_table(report: EvaluationReport) -> Table:
    named = report.model + (f"@{report.adapter}" if report.adapter else "")
    title = f"{named}: {len(report.rows)} rows in {report.seconds:.0f} s; in % but for reward and F1, [95 % interval]"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("", "n", "reward", "exact", "decision", "F1", "tools", "args", "invalid"):
        table.add_column(column, justify="right" if column else "left", overflow="fold")
    for name, group in {"all": report, **(report.per_source if len(report.per_source) > 1 else {})}.items():
        if group.overall is None:
            continue
        table.add_section()
        table.add_row(name, *_cells(group.overall, f"{group.macro_f1:.2f}"), style="bold")
        for kind, figures in group.per_class.items() if len(group.per_class) > 1 else ():
            table.add_row(f"  {kind}", *_cells(figures, ""))
        for baseline, figure in group.baselines.items():
            exact, decision = (f"{100 * figure[share]:.1f}" for share in ("exact", "decision_accuracy"))
            f1 = f"{figure['macro_f1']:.2f}"
            table.add_row(f"  {baseline}", "", f"{figure['reward']:.3f}", exact, decision, f1, style="dim")
    if len(report.per_turns) > 1:
        table.add_section()
        for name, figures in report.per_turns.items():
            table.add_row(name, *_cells(figures, ""))
    return table


def _cells(figures: Figures, f1: str) -> list[str]:
    return [
        str(figures.n),
        f"{figures.reward.mean:.3f}",
        _percent(figures.exact),
        _percent(figures.decision_accuracy),
        f1,
        "-" if figures.tool_accuracy is None else f"{100 * figures.tool_accuracy.mean:.1f}",
        "-" if figures.argument_accuracy is None else f"{100 * figures.argument_accuracy.mean:.1f}",
        f"{100 * figures.invalid_rate:.1f}",
    ]


def _percent(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def _confusion(confusion: Mapping[str, Mapping[str, int]]) -> Table:
    decided = list(next(iter(confusion.values()), {}))
    table = Table("right ↓  decided →", *decided, title="Decisions", title_justify="left")
    for truth, row in confusion.items():
        table.add_row(truth, *(str(row[kind]) for kind in decided))
    return table


def _show_reliability(console: Console, report: EvaluationReport) -> None:
    """How many are right of those that were decided with so much confidence, and of the calls among them."""
    told = report.reliability
    if told is None:
        return
    ranking = "-" if told.ranking is None else f"{told.ranking:.2f}"
    table = Table(
        title=f"How sure, how right: calibration error {told.error:.3f}, ranking {ranking}", title_justify="left"
    )
    for column in ("confidence", "n", "mean", "exact", "calls", "exact"):
        table.add_column(column, justify="right")
    calls = {band.low: band for band in (report.call_reliability.bands if report.call_reliability else ())}
    for band in told.bands:
        made = calls.get(band.low)
        cells = (str(made.n), f"{100 * made.exact:.0f}") if made else ("0", "-")
        between = f"{band.low:.1f} to {band.high:.1f}"
        table.add_row(between, str(band.n), f"{100 * band.confidence:.0f}", f"{100 * band.exact:.0f}", *cells)
    console.print(table)


def _show_near_misses(console: Console, results: Sequence[RowResult]) -> None:
    near = [(result, miss) for result in results for miss in result.near_misses]
    if not near:
        return
    counts = ", ".join(f"{kind} {n}" for kind, n in near_miss_counts(results).most_common())
    table = Table(
        "row",
        "argument",
        "kind",
        "expected",
        "given",
        title=f"Near misses, arguments of right tools: {counts}",
        title_justify="left",
    )
    for result, miss in near[:SHOWN_NEAR_MISSES]:
        table.add_row(
            result.id, f"{miss.tool}.{miss.argument}", miss.kind.value, _short(miss.expected), _short(miss.given)
        )
    console.print(table, markup=False)


def _show_left_out(console: Console, report: EvaluationReport, rows: MeasuredRows) -> None:
    reasons: dict[str, list[str]] = {}
    for record in (*rows.unfit, *report.unmeasured):
        reasons.setdefault(record.fault.value, []).append(f"{record.id} ({record.detail})")
    for reason, named in reasons.items():
        console.print(f"not measured, {reason}: {len(named)}", style="yellow")
        for one in named[:SHOWN_IDS]:
            console.print(f"  {one}", markup=False, highlight=False)
    for remark, ids in rows.remarks.items():
        listed = ", ".join(ids[:SHOWN_IDS]) + (", ..." if len(ids) > SHOWN_IDS else "")
        console.print(f"measured, {remark.value}: {len(ids)} ({listed})", markup=False, highlight=False)
    if report.truncated:
        console.print(f"cut at the token limit: {report.truncated}")


def show_comparison(console: Console, found: Comparison) -> None:
    table = Table(title=f"A {_named(found.a)}, B {_named(found.b)}", title_justify="left")
    for column in (
        "",
        "n",
        "reward A",
        "B",
        "gain [95 %]",
        "exact A",
        "B",
        "only A : B",
        "p",
        "decision A",
        "B",
        "only A : B",
        "p",
    ):
        table.add_column(column, justify="right" if column else "left")
    groups = {"all": found.overall, **{f"  {kind}": pairing for kind, pairing in found.per_class.items()}}
    for name, pairing in {**groups, **found.per_source}.items():
        gain = pairing.reward_gain
        table.add_row(
            name,
            str(pairing.n),
            f"{pairing.reward_a:.3f}",
            f"{pairing.reward_b:.3f}",
            f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]",
            *_discordance(pairing.exact),
            *_discordance(pairing.decision),
        )
    console.print(table)
    if found.only_in_a or found.only_in_b:
        console.print(f"left out, measured by one alone: {len(found.only_in_a)} by A, {len(found.only_in_b)} by B")


def _discordance(found: Discordance) -> tuple[str, str, str, str]:
    return f"{found.a:.1%}", f"{found.b:.1%}", f"{found.only_a} : {found.only_b}", f"{found.p:.3g}"


def _named(policy: Mapping[str, Any]) -> str:
    return str(policy.get("model")) + (f"@{policy['adapter']}" if policy.get("adapter") else "")


def _short(value: Any, limit: int = 40) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
