"""The learning report of one tool: its runs, what policies get right on its cases, what its definition lacks."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from sqlalchemy.engine import Engine

from runtime.policy.deployment import Deployment
from runtime.report.measurements import CaseResult, Measurement, Measurements
from runtime.report.readiness import Readiness, readiness
from runtime.report.tool_runs import ToolRuns, runs_of
from runtime.traces.store import TraceStore
from tools.catalogue import Catalogue
from tools.curriculum import curriculum, digest
from tools.lint import Finding, lint
from tools.spec import ToolSpec

MAX_FAILED_CASES = 20


class CaseFigures(BaseModel):
    """One policy on the tool's cases."""

    model_config = ConfigDict(frozen=True)

    adapter: str | None
    """None is the base."""
    model: str
    measured_at: datetime
    is_current: bool
    """Whether it was measured on the cases of the present definition and catalogue; others do not count for the score."""
    n: int
    reward: float
    exact: float
    exact_by_kind: dict[str, float]
    confusion: dict[str, dict[str, int]]
    gain: float | None
    """Mean reward less the base's on the same cases; None: the base itself, or not measured on the same."""
    failed: tuple[CaseResult, ...]
    """The first of the cases that are not right in full."""


class ToolReport(BaseModel):
    model_config = ConfigDict(frozen=True)

    tool: str
    version: int
    sha256: str
    owner: str | None
    tags: tuple[str, ...]
    side: str
    """`train`: its traces and cases are learnt on; `never_train`: they measure."""
    serving: str | None
    """Adapter that serves; None is the base."""
    readiness: Readiness
    cases: dict[str, int]
    """Kind of case → how many follow from the definition."""
    policies: tuple[CaseFigures, ...]
    """What was measured, the base first."""
    runs: ToolRuns
    findings: tuple[Finding, ...]
    """Of the linter."""


class ToolReports:
    """Puts reports together from what the stores hold; measures nothing itself."""

    def __init__(self, engine: Engine) -> None:
        self._catalogue = Catalogue(engine)
        self._traces = TraceStore(engine)
        self._deployment = Deployment(engine)
        self._measurements = Measurements(engine)

    def report(self, name: str) -> ToolReport:
        """Raises: UnknownTool: no active tool has that name."""
        spec, others = self._catalogue.get(name), self._catalogue.list()
        version = next(v.version for v in reversed(self._catalogue.versions(name)) if v.active)
        serving = self._deployment.current()
        cases = curriculum(spec, others)
        policies = _figures(self._measurements.latest(name), digest(spec, cases))
        runs = runs_of(name, self._traces.sightings(name))
        findings = lint(spec, others)
        return ToolReport(
            tool=name,
            version=version,
            sha256=spec.sha256,
            owner=spec.owner,
            tags=spec.tags,
            side=side_of(spec),
            serving=serving.name if serving else None,
            readiness=readiness(
                exact_by_kind=_of_serving(policies, serving.name if serving else None),
                verified=runs.verified,
                judged=runs.judged,
                findings=len(findings),
            ),
            cases=dict(Counter(case.kind.value for case in cases)),
            policies=policies,
            runs=runs,
            findings=tuple(findings),
        )


def side_of(spec: ToolSpec) -> str:
    return "never_train" if spec.never_train else "train"


def _figures(measured: Sequence[Measurement], cases: str) -> tuple[CaseFigures, ...]:
    bases = {(m.model, m.cases): m for m in measured if m.adapter is None}
    ordered = sorted(measured, key=lambda m: (m.adapter is not None, m.measured_at))
    return tuple(_figure(m, bases.get((m.model, m.cases)), cases) for m in ordered)


def _figure(measured: Measurement, base: Measurement | None, cases: str) -> CaseFigures:
    failed = [result for result in measured.results if not result.exact]
    return CaseFigures(
        adapter=measured.adapter,
        model=measured.model,
        measured_at=measured.measured_at,
        is_current=measured.cases == cases,
        n=len(measured.results),
        reward=measured.reward,
        exact=measured.exact,
        exact_by_kind=measured.exact_by_kind,
        confusion=measured.confusion,
        gain=measured.reward - base.reward if measured.adapter is not None and base is not None else None,
        failed=tuple(failed[:MAX_FAILED_CASES]),
    )


def _of_serving(policies: Sequence[CaseFigures], serving: str | None) -> dict[str, float] | None:
    """The newest figures of what serves, on the present cases."""
    found = [figures for figures in policies if figures.adapter == serving and figures.is_current]
    return max(found, key=lambda figures: figures.measured_at).exact_by_kind if found else None
