"""Counts and times of one server for Prometheus, on a registry of its own, so that two servers in one process do not meet.

Labels hold names that the operator chose or that the code knows, never what a user or a client wrote; the names of tools are
bounded besides. What is not counted as it happens but stands somewhere (the queue, the database) is `runtime.telemetry.standing`,
looked up when Prometheus asks.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector

from runtime.agent.messages import Reply
from runtime.agent.observer import Observer, PolicyAnswered, PolicyAsked, ToolAnswered, TurnBegun, TurnEnded
from runtime.decision import Decision, confidence
from runtime.policy.base import Completion
from runtime.telemetry.standing import Standing, families
from runtime.traces.schema import Trace
from tools.outcome import CallResult
from tools.spec import CallStatus, ClientBackend, ToolSpec

MAX_TOOLS = 500
"""Tools with a series of their own; those that come later, and clients' own tools, are counted as `other`."""
OTHER = "other"

_TURN_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_PART_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_CONFIDENCE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)


@dataclass(slots=True)
class _Stopwatch:
    """Time in which at least one of several things that may overlap was under way."""

    clock: Callable[[], float]
    total_s: float = 0.0
    _running: int = 0
    _since: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        if not self._running:
            self._since = self.clock()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self.total_s += self.clock() - self._since


@dataclass(slots=True)
class _Parts:
    """Of one turn."""

    clock: Callable[[], float]
    policy: _Stopwatch = field(init=False)
    tools: _Stopwatch = field(init=False)
    record: _Stopwatch = field(init=False)

    def __post_init__(self) -> None:
        self.policy, self.tools, self.record = (_Stopwatch(self.clock) for _ in range(3))


class Metrics(Observer):
    """Counts what it sees. Belongs to one event loop; `exposition` may be called from any thread."""

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        """Args: clock: seconds."""
        self._clock = clock
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self._tool_names: set[str] = set()
        self._parts: ContextVar[_Parts | None] = ContextVar("hone_turn_parts", default=None)
        self._turns = Counter(
            "hone_turns",
            "Turns that ended, by the decision that ended them (none: the turn failed) and by how they ended: finished, waiting "
            "for a person, failed, or the limit that stopped them.",
            ["decision", "outcome"],
            registry=registry,
        )
        self._turns_running = Gauge("hone_turns_in_progress", "Turns under way.", registry=registry)
        self._turn_s = Histogram(
            "hone_turn_duration_seconds",
            "Time from the begin of a turn until its record is written, waits for a person not among it.",
            buckets=_TURN_BUCKETS_S,
            registry=registry,
        )
        self._part_s = Histogram(
            "hone_turn_part_duration_seconds",
            "Time of a turn in calls of the policy, in calls of tools (side by side counts once), and in writing its record.",
            ["part"],
            buckets=_PART_BUCKETS_S,
            registry=registry,
        )
        self._phase_s = Histogram(
            "hone_policy_phase_duration_seconds",
            "Time of one call of the model in this process: queue, prefill (up to the first token), decode.",
            ["phase"],
            buckets=_PART_BUCKETS_S,
            registry=registry,
        )
        self._policy_running = Gauge(
            "hone_policy_calls_in_progress",
            "Calls of the policy that turns wait for, queued ones among them.",
            registry=registry,
        )
        self._policy_failures = Counter(
            "hone_policy_call_failures",
            "Calls of the policy that failed, by kind of error.",
            ["error"],
            registry=registry,
        )
        self._tokens = Counter(
            "hone_policy_tokens", "Tokens that the policy read (input) and wrote (output).", ["type"], registry=registry
        )
        self._confidence = Histogram(
            "hone_decision_confidence",
            "How sure the policy was of what it wrote, by what it decided: the probability of all its tokens together.",
            ["decision"],
            buckets=_CONFIDENCE_BUCKETS,
            registry=registry,
        )
        self._tool_calls = Counter(
            "hone_tool_calls",
            "Tool calls that were decided on, made or not, by what came of them; other: clients' own tools, and those beyond "
            f"the first {MAX_TOOLS}.",
            ["tool", "status"],
            registry=registry,
        )
        self._tool_s = Histogram(
            "hone_tool_call_duration_seconds",
            "Time of one tool call as the turn saw it, waits for a place and retries among it.",
            ["tool"],
            buckets=_PART_BUCKETS_S,
            registry=registry,
        )
        self._records = Counter(
            "hone_traces", "Traces by whether they were written to the database.", ["result"], registry=registry
        )
        self._requests = Counter(
            "hone_http_requests",
            "HTTP requests by method, route and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._request_s = Histogram(
            "hone_http_request_duration_seconds",
            "Time from a request to the last byte of its answer, streamed ones too.",
            ["method", "route"],
            buckets=_TURN_BUCKETS_S,
            registry=registry,
        )
        for result in ("written", "failed"):  # alerts want a zero, not nothing
            self._records.labels(result)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """An HTTP request was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_s.labels(method, route).observe(seconds)

    def exposition(self, accept: str, standing: Standing) -> tuple[bytes, str]:
        """All figures, in the format that the `Accept` header asks for, and the content type."""
        encode, content_type = choose_encoder(accept)
        return encode(_Scrape(self._registry, standing)), content_type

    @contextmanager
    def turn(self, begun: TurnBegun) -> Iterator[TurnEnded]:
        parts, started = _Parts(self._clock), self._clock()
        before = self._parts.set(parts)

        def ended(trace: Trace, reply: Reply | None) -> None:
            decision = reply.decision.value if reply is not None else "none"
            outcome = reply.stopped if reply is not None and reply.stopped is not None else trace.status.value
            self._turns.labels(decision, outcome).inc()

        with self._turns_running.track_inprogress():
            try:
                yield ended
            finally:
                self._parts.reset(before)
                self._turn_s.observe(self._clock() - started)
                for name, watch in (("policy", parts.policy), ("tools", parts.tools), ("record", parts.record)):
                    self._part_s.labels(name).observe(watch.total_s)

    @contextmanager
    def policy_call(self, asked: PolicyAsked) -> Iterator[PolicyAnswered]:
        def answered(completion: Completion, decision: Decision) -> None:
            self._confidence.labels(decision.kind.value).observe(confidence(completion.logprobs))
            self._tokens.labels("input").inc(asked.prompt_tokens)
            self._tokens.labels("output").inc(len(completion.token_ids))
            if completion.phases is not None:
                self._phase_s.labels("queue").observe(completion.phases.queue_s)
                self._phase_s.labels("prefill").observe(completion.phases.prefill_s)
                self._phase_s.labels("decode").observe(completion.phases.decode_s)

        with self._policy_running.track_inprogress(), self._within("policy"):
            try:
                yield answered
            except Exception as e:
                self._policy_failures.labels(type(e).__name__).inc()
                raise

    @contextmanager
    def tool_call(self, spec: ToolSpec, call_id: str, arguments: Mapping[str, Any]) -> Iterator[ToolAnswered]:
        name, started = self._name(spec), self._clock()

        def answered(result: CallResult) -> None:
            self._tool_calls.labels(name, result.status.value).inc()
            self._tool_s.labels(name).observe(self._clock() - started)

        with self._within("tools"):
            yield answered

    def tool_withheld(self, spec: ToolSpec | None, status: CallStatus) -> None:
        self._tool_calls.labels(self._name(spec), status.value).inc()

    @contextmanager
    def recording(self) -> Iterator[None]:
        with self._within("record"):
            try:
                yield
            except Exception:
                self._records.labels("failed").inc()
                raise
        self._records.labels("written").inc()

    @contextmanager
    def _within(self, part: str) -> Iterator[None]:
        """Counts the time for the turn in whose context this runs."""
        parts = self._parts.get()
        if parts is None:
            yield
            return
        watch: _Stopwatch = getattr(parts, part)
        with watch.running():
            yield

    def _name(self, spec: ToolSpec | None) -> str:
        if spec is None or isinstance(spec.backend, ClientBackend):
            return OTHER
        if spec.name not in self._tool_names:
            if len(self._tool_names) >= MAX_TOOLS:
                return OTHER
            self._tool_names.add(spec.name)
        return spec.name


class _Scrape:
    """What one request of Prometheus is shown: what was counted, and how things stand."""

    def __init__(self, registry: CollectorRegistry, standing: Standing) -> None:
        self._registry = registry
        self._standing = standing

    def collect(self) -> Iterable[Metric]:
        yield from self._registry.collect()
        yield from families(self._standing)
