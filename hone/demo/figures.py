"""The demo's closing figures: the table that people read and the JSON that programs read. Pure."""

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table

from hone.demo.play import Played
from learner.daemon import CycleReport, Outcome
from learner.evaluation import EvaluationReport
from learner.figures import Figures

FORBIDDEN = "demo/forbidden"
"""Source of the requests that the rules of the house forbid."""
HELD_OUT = "demo/held_out"
"""Source of the other requests that are measured before and after."""
PARTS = ("overall", "execute", "clarify", "refuse", "house rules", "all else")
PACKAGES = ("torch", "transformers", "trl", "peft", "langgraph", "fastapi", "sqlalchemy", "openai", "mcp")


def _parts(report: EvaluationReport) -> dict[str, Figures]:
    """All rows, those of each class, those that the rules of the house forbid, and all but these."""
    found = {"overall": report.overall, **report.per_class}
    for name, source in (("house rules", FORBIDDEN), ("all else", HELD_OUT)):
        group = report.per_source.get(source)
        found[name] = group and group.overall
    return {name: part for name in PARTS if (part := found.get(name)) is not None}


def _means(report: EvaluationReport, figure: str) -> dict[str, float]:
    return {name: getattr(part, figure).mean for name, part in _parts(report).items()}


def as_json(
    *,
    before: EvaluationReport,
    after: EvaluationReport,
    played: Played,
    cycle: CycleReport,
    policy_after: str | None,
    swap_s: float | None,
    verdicts: dict[str, Any],
    seeds: dict[str, int],
    seconds: dict[str, float],
) -> dict[str, Any]:
    return {
        "reward_before": _means(before, "reward"),
        "reward_after": _means(after, "reward"),
        "exact_before": _means(before, "exact"),
        "exact_after": _means(after, "exact"),
        "n_eval": before.overall.n if before.overall else 0,
        "promoted": cycle.outcome is Outcome.PROMOTED,
        "outcome": cycle.outcome.value,
        "reason": cycle.reason,
        "policy_before": before.adapter or before.model,
        "policy_after": policy_after or before.model,
        "adapter_sha256": cycle.published.sha256 if cycle.published else None,
        "swap_s": swap_s,
        "confusion_before": before.confusion,
        "confusion_after": after.confusion,
        "baselines": before.baselines,
        "traffic": {
            "visits": played.visits,
            "turns": played.turns,
            "satisfied": played.satisfied,
            "satisfied_at_once": played.first_time,
            "decisions": dict(played.decisions),
            "errors": played.errors,
        },
        "verdicts": verdicts,
        "cycle": cycle.model_dump(mode="json", exclude={"before": {"rows"}, "after": {"rows"}}),
        "before": before.model_dump(mode="json"),
        "after": after.model_dump(mode="json"),
        "seeds": seeds,
        "seconds": seconds,
        "versions": {"python": sys.version.split()[0], "machine": platform.machine()}
        | {p: version(p) for p in PACKAGES},
    }


def show(console: Console, figures: dict[str, Any], before: EvaluationReport, after: EvaluationReport) -> None:
    table = Table(title=f"The same {figures['n_eval']} requests on tools that learning never saw", title_justify="left")
    for column in ("", "n", "reward before", "after", "exact before", "after"):
        table.add_column(column, justify="left" if not column else "right")
    learnt = _parts(after)
    for name, old in _parts(before).items():
        if new := learnt.get(name):
            table.add_row(name, str(old.n), *(_interval(i) for i in (old.reward, new.reward, old.exact, new.exact)))
    console.print(table)
    console.print(_confusion("Decisions before", before.confusion))
    console.print(_confusion("Decisions after", after.confusion))
    trivial = Table(title="Policies that ignore the request, on the same rows", title_justify="left")
    for column in ("policy", "reward", "exact"):
        trivial.add_column(column, justify="left" if column == "policy" else "right")
    for name, row in figures["baselines"].items():
        trivial.add_row(name, f"{row['reward']:.3f}", f"{row['exact']:.1%}")
    console.print(trivial)
    sha = figures["adapter_sha256"]
    console.print(
        f"{figures['outcome']}: {figures['policy_before']} → {figures['policy_after']}"
        + (f" (sha256 {sha[:12]})" if sha else "")
    )


def _interval(interval: Any) -> str:
    return f"{interval.mean:.3f} [{interval.low:.2f}, {interval.high:.2f}]"


def _confusion(title: str, confusion: dict[str, dict[str, int]]) -> Table:
    decided: Sequence[str] = list(next(iter(confusion.values()), {}))
    table = Table("right ↓  decided →", *decided, title=title, title_justify="left")
    for truth, row in confusion.items():
        table.add_row(truth, *(str(row[kind]) for kind in decided))
    return table
