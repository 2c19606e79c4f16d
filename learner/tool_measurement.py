"""Measuring a policy on the cases of one tool, as its report shows it."""

from collections.abc import Sequence

from learner.curriculum_rows import case_row
from learner.evaluation import Progress, evaluate
from learner.serving_order import in_serving_order
from learner.settings import EvaluationSettings
from runtime.database import Clock, utc_now
from runtime.policy.base import Policy
from runtime.prompt import Renderer
from runtime.report.measurements import CaseResult, Measurement
from tools.curriculum import curriculum, digest
from tools.retrieval import Retriever
from tools.spec import ToolSpec


async def measure_tool(
    policy: Policy,
    renderer: Renderer,
    retriever: Retriever,
    spec: ToolSpec,
    others: Sequence[ToolSpec],
    *,
    adapter: str | None,
    settings: EvaluationSettings | None = None,
    progress: Progress | None = None,
    clock: Clock = utc_now,
) -> Measurement:
    """Runs the policy once over every case, greedily; a case whose prompt leaves no room counts as invalid.

    Args:
        others: the registered tools, which stand beside the tool in its cases.
        adapter: resident already; None is the base.

    Raises: PolicyUnavailable, UnknownAdapter: from the policy.
    """
    cases = curriculum(spec, others)
    by_name = {other.name: other for other in (*others, spec)}
    rows = in_serving_order([case_row(case, by_name, "eval") for case in cases], retriever)
    report = await evaluate(policy, renderer, rows, adapter=adapter, settings=settings, progress=progress)
    measured = {result.id: result for result in report.rows}
    results = []
    for case, row in zip(cases, rows, strict=True):
        found = measured.get(row.extra_info["id"])
        results.append(
            CaseResult(
                case=case.id,
                said=case.expected.utterance,
                truth=case.expected.decision,
                decided=found.decided if found else "invalid",
                reward=found.reward if found else 0.0,
                exact=found is not None and found.exact,
                reasons=found.reasons if found else ("the prompt leaves no room for an answer",),
            )
        )
    return Measurement(
        tool=spec.name,
        tool_sha256=spec.sha256,
        cases=digest(spec, cases),
        model=policy.model,
        adapter=adapter,
        results=tuple(results),
        measured_at=clock(),
    )
