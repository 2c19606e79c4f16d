"""How things stand now, as `/metrics` tells it: the queue, the adapter that serves, and what the database knows.

All of it is cheap: memory, and counts that an index answers.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from runtime.agent.turns import Turns
from runtime.approvals.store import ApprovalStore
from runtime.errors import StoreError, told
from runtime.policy.base import BASE_POLICY, Policy, PolicyLoad, Queued
from runtime.policy.deployment import Deployment, Promotions
from runtime.policy.swap import SwapStatus
from tools.errors import JournalUnavailable
from tools.journal import Journal

log = structlog.get_logger(__name__)
SHA_CHARS = 12
"""Of an adapter's sha256, enough to recognise it."""


class Live(Protocol):
    def status(self) -> SwapStatus: ...


class Sources(Protocol):
    """The parts of a server that are asked; `runtime.services.Services` has them all."""

    @property
    def policy(self) -> Policy: ...
    @property
    def live(self) -> Live: ...
    @property
    def turns(self) -> Turns: ...
    @property
    def approvals(self) -> ApprovalStore: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def deployment(self) -> Deployment: ...


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database knows."""

    approvals_waiting: int
    calls_unknown: int
    promotions: Promotions


@dataclass(frozen=True, slots=True)
class Standing:
    swap: SwapStatus
    load: PolicyLoad | None
    """None: the queue is a server's own affair."""
    stored: Stored | None
    """None: the database cannot be asked."""
    stopping: bool


async def look(hone: Sources) -> Standing:
    """The figures of this moment."""
    load = hone.policy.workload() if isinstance(hone.policy, Queued) else None
    return Standing(hone.live.status(), load, await asyncio.to_thread(_stored, hone), hone.turns.is_stopping)


def _stored(hone: Sources) -> Stored | None:
    try:
        return Stored(hone.approvals.count_waiting(), hone.journal.count_unknown(), hone.deployment.promotions())
    except (StoreError, JournalUnavailable) as e:
        log.warning("figures of the database left out of the metrics", error=told(e))
        return None


def families(standing: Standing) -> Iterator[Metric]:
    """Prometheus' form of it."""
    swap, stored = standing.swap, standing.stored
    yield _adapter(swap)
    since = swap.since.timestamp()
    yield _gauge("hone_adapter_since_timestamp_seconds", "When what serves now began to serve in this process.", since)
    yield CounterMetricFamily("hone_adapter_swaps", "Changes of what serves, since the start.", value=swap.swaps)
    yield _gauge("hone_adapters_resident", "Adapters that are loaded.", len(swap.resident))
    refused = "Adapters that did not pass their checks here and so do not serve, since the start."
    yield _gauge("hone_adapters_refused", refused, len(swap.refused))
    behind = swap.waiting_for is not None or swap.last_error is not None
    yield _gauge("hone_adapter_behind", "1 while something else serves than the deployment names, else 0.", behind)
    yield _gauge("hone_stopping", "1 while the server takes no new turns, else 0.", standing.stopping)
    if standing.load is not None:
        yield _gauge("hone_policy_queue_depth", "Requests that wait for a place at the model.", standing.load.waiting)
        yield _gauge("hone_policy_running_requests", "Requests that the model writes now.", standing.load.running)
    yield _gauge("hone_database_up", "1 when the database answered this request, else 0.", stored is not None)
    if stored is not None:
        yield _gauge("hone_approvals_waiting", "Tool calls that wait for a person's word.", stored.approvals_waiting)
        unknown = "Tool calls of which nobody knows whether they took effect; a person settles them."
        yield _gauge("hone_tool_calls_unknown", unknown, stored.calls_unknown)
        told_since = "Candidates that were refused since the last promotion, or ever where there was none."
        yield _gauge("hone_candidates_refused_since_promotion", told_since, stored.promotions.refused_since)
        yield from _last_promotion(stored.promotions.last)


def _adapter(swap: SwapStatus) -> Metric:
    info = GaugeMetricFamily("hone_adapter_info", "What serves; the value is 1.", labels=["adapter", "sha256"])
    info.add_metric([swap.served.name or BASE_POLICY, (swap.served.sha256 or "")[:SHA_CHARS]], 1)
    return info


def _last_promotion(last: datetime | None) -> Iterator[Metric]:
    if last is not None:
        text = "When a candidate last became the incumbent."
        yield _gauge("hone_last_promotion_timestamp_seconds", text, last.timestamp())


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=float(value))
