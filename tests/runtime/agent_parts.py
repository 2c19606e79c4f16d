"""Parts of an agent for tests: tools, an executor that answers from a table, a recorder, and the whole put together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.agent.admission import Admissions
from runtime.agent.answers import Answers
from runtime.agent.consent import ConsentRules
from runtime.agent.graph import build_graph
from runtime.agent.history import remembered_in
from runtime.agent.nodes import Nodes
from runtime.agent.recovery import TurnRecovery
from runtime.agent.shown_tools import ShownTools
from runtime.agent.state import Limits
from runtime.agent.thread_checkpoints import open_thread_checkpoints
from runtime.agent.threads import HeadStore, Threads
from runtime.agent.turn_request import TurnRequest
from runtime.agent.turns import Turns
from runtime.approvals.store import ApprovalStore
from runtime.database import Clock, open_database, utc_now
from runtime.decision import Clarify, Decision, Execute, MissingParameter, Refuse, ToolCall, write_decision
from runtime.errors import TraceNotFound
from runtime.policy.base import SamplingParams
from runtime.presence import SharedPresence
from runtime.prompt import Renderer
from runtime.traces.schema import Trace
from tests.runtime.scripted_policy import ScriptedPolicy
from tools.journal import ReadRow
from tools.outcome import CallResult
from tools.question import Answer
from tools.retrieval import Retriever
from tools.spec import ApprovalRule, Backend, BuiltinBackend, CallStatus, ClientBackend, SideEffect, ToolSpec

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def tool(
    name: str = "weather",
    parameters: Mapping[str, Any] = CITY,
    *,
    backend: Backend | None = None,
    side_effect: SideEffect = SideEffect.READ,
    approval: ApprovalRule = ApprovalRule.BY_EFFECT,
) -> ToolSpec:
    return ToolSpec(
        name=name,
        description=f"Runs {name}.",
        parameters=dict(parameters),
        backend=backend or BuiltinBackend(function=name),
        side_effect=side_effect,
        approval=approval,
    )


def client_tool(name: str = "weather") -> ToolSpec:
    return tool(name, backend=ClientBackend())


def execute(*calls: tuple[str, Mapping[str, Any]]) -> str:
    return said(Execute(calls=tuple(ToolCall(name=name, arguments=dict(arguments)) for name, arguments in calls)))


def clarify(question: str, tool: str = "weather", parameter: str = "city") -> str:
    return said(Clarify(question=question, missing=(MissingParameter(tool=tool, parameter=parameter),)))


def refuse(reason: str) -> str:
    return said(Refuse(reason=reason))


def said(decision: Decision) -> str:
    return write_decision(decision)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


class TableExecutor:
    """Answers each tool from a table: a text, a status with an error, or a function of the arguments."""

    makes_each_call_once = False

    def __init__(self, results: Mapping[str, str | tuple[CallStatus, str] | Callable[[dict[str, Any]], str]]) -> None:
        self.results = dict(results)
        self.calls: list[tuple[str, dict[str, Any], str]] = []
        self.running = 0
        self.most_at_once = 0

    async def run(
        self,
        spec: ToolSpec,
        arguments: dict[str, Any],
        *,
        call_id: str,
        answer: Answer | None = None,
        reads: list[ReadRow] | None = None,
    ) -> CallResult:
        self.calls.append((spec.name, arguments, call_id))
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        result = self.results[spec.name]
        if callable(result):
            result = result(arguments)
        status, content = result if isinstance(result, tuple) else (CallStatus.OK, result)
        return CallResult(status, content, latency_ms=1.0)


@dataclass
class Recorder:
    """Keeps traces in a list; fails when told to."""

    traces: list[Trace] = field(default_factory=list)
    failure: Exception | None = None

    def record(self, trace: Trace) -> None:
        if self.failure is not None:
            raise self.failure
        self.traces.append(trace)

    def get(self, trace_id: str) -> Trace:
        newest = [trace for trace in self.traces if trace.id == trace_id]
        if not newest:
            raise TraceNotFound(f"no trace {trace_id!r}")
        return newest[-1]


@dataclass
class Toolbox:
    specs: Sequence[ToolSpec] = ()

    def list(self) -> Sequence[ToolSpec]:
        return self.specs


@dataclass(frozen=True)
class Serving:
    name: str | None = None
    sha256: str | None = None


@dataclass
class Pointer:
    served: Serving = Serving()
    leased: list[Serving] = field(default_factory=list)

    @contextmanager
    def lease(self) -> Iterator[Serving]:
        served = self.served
        self.leased.append(served)
        try:
            yield served
        finally:
            self.leased.remove(served)


@dataclass
class Agent:
    """A whole agent below HTTP."""

    turns: Turns
    policy: ScriptedPolicy
    executor: TableExecutor
    recorder: Recorder
    toolbox: Toolbox
    pointer: Pointer
    approvals: ApprovalStore
    answers: Answers
    threads: Threads
    admissions: Admissions
    recovery: TurnRecovery

    async def say(self, *messages: Mapping[str, Any] | str, thread: str | None = None, **others: Any):
        """One turn; a text is the user's."""
        shaped = tuple(user(m) if isinstance(m, str) else dict(m) for m in messages)
        params = others.pop("params", SamplingParams())
        return await self.turns.run(TurnRequest(messages=shaped, params=params, thread=thread, **others))

    @property
    def last_prompt(self) -> str:
        return self.policy.prompts[-1]


@asynccontextmanager
async def running_agent(
    home: Path,
    renderer: Renderer,
    script: Sequence[Any] = (),
    *,
    tools: Sequence[ToolSpec] = (),
    results: Mapping[str, Any] | None = None,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    consent: ConsentRules = ConsentRules(),  # noqa: B008 (frozen)
    clock: Clock = utc_now,
) -> AsyncIterator[Agent]:
    policy = ScriptedPolicy(renderer.tokenizer, script)
    executor, recorder, toolbox, pointer = TableExecutor(results or {}), Recorder(), Toolbox(tools), Pointer()
    engine = open_database(f"sqlite:///{home / 'hone.db'}")
    presence = SharedPresence(home / "servers", engine)
    admissions = Admissions(engine, presence.owner)
    approvals = ApprovalStore(engine, clock=clock)
    checkpoints = open_thread_checkpoints(engine, home / "threads.db")
    with contextlib.ExitStack() as stack:
        stack.callback(presence.close)
        nodes = Nodes(policy, renderer, executor, limits, approvals, consent=consent)
        graph = build_graph(nodes, checkpoints)
        threads = Threads(HeadStore(engine), remembered_in(graph), is_held=admissions.is_running)
        turns = Turns(
            policy=policy,
            graph=graph,
            checkpoints=checkpoints,
            threads=threads,
            tools=ShownTools(toolbox, Retriever(None), limit=limits.shown_tools),
            recorder=recorder,
            pointer=pointer,
            approvals=approvals,
            admissions=admissions,
            presence=presence,
            digests=lambda name: f"sha-of-{name}",
            limits=limits,
            base_name="scripted",
        )
        answers = Answers(approvals, threads, turns)
        recovery = TurnRecovery(admissions, turns, presence)
        yield Agent(
            turns, policy, executor, recorder, toolbox, pointer, approvals, answers, threads, admissions, recovery
        )
        await recovery.close()
        await answers.close()
        await turns.close()
    engine.dispose()
