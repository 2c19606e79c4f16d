"""Puts one server together: makes each part once, in order, and hands it to those that need it; nothing else in the runtime does.

Whatever is opened here is closed by the stack that the caller gives, in reverse order.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.engine import Engine

from runtime.access.audit import AuditLog
from runtime.access.keys import Keys
from runtime.access.limits import Limits as AccessLimits
from runtime.access.limits import WaitingRoom
from runtime.access.oidc import OidcTokens
from runtime.agent.admission import Admissions
from runtime.agent.answers import Answers
from runtime.agent.consent import ConsentRules
from runtime.agent.graph import build_graph
from runtime.agent.history import remembered_in
from runtime.agent.nodes import Nodes, ToolExecutor
from runtime.agent.observer import Observer, Observers
from runtime.agent.recovery import TurnRecovery
from runtime.agent.shown_tools import ShownTools
from runtime.agent.state import Limits
from runtime.agent.system_prompts import SystemPrompts
from runtime.agent.thread_checkpoints import open_thread_checkpoints
from runtime.agent.threads import HeadStore, Threads
from runtime.agent.turn_request import WhenBusy
from runtime.agent.turns import Turns
from runtime.approvals.store import ApprovalStore
from runtime.database import close_database, open_database
from runtime.erasure import Erasure
from runtime.errors import StoreError, UnknownAdapter, told
from runtime.outbound import open_outbound
from runtime.policy.base import Policy
from runtime.policy.deployment import Deployment
from runtime.policy.swap import LivePolicy
from runtime.presence import SharedPresence
from runtime.prompt import Renderer
from runtime.secrets import open_secret_store, secret_source
from runtime.services import Services
from runtime.settings import Settings, trace_export
from runtime.telemetry.metrics import Metrics
from runtime.traces.store import TraceStore
from tools.builtin import builtin_tools
from tools.catalogue import Catalogue
from tools.drafts import Drafts
from tools.errors import UnknownTool
from tools.execution import Executor
from tools.holds import Holds
from tools.journal import Journal
from tools.journaled_calls import JournaledCalls
from tools.presence import Presence
from tools.python_tools import PythonTools
from tools.recovery import Recovery
from tools.retrieval import open_retriever
from tools.runnable import RunnableTools
from tools.secret_store import SecretStore
from tools.secrets import SecretSource
from tools.tenancy import SHARED, Caller, acting
from tools.transport import Outbound

log = structlog.get_logger(__name__)
USES_EVERY_S = 30.0
"""How often it is written down when keys were last used."""


@dataclass(frozen=True, slots=True)
class Given:
    """Parts that the caller brings, and closes; None: made as the settings say."""

    policy: Policy | None = None
    renderer: Renderer | None = None
    engine: Engine | None = None
    executor: ToolExecutor | None = None
    python: PythonTools | None = None


@dataclass(frozen=True, slots=True)
class _ToolParts:
    """All that belongs to tools."""

    catalogue: Catalogue
    drafts: Drafts
    holds: Holds
    journal: Journal
    secrets: SecretStore
    secret_source: SecretSource
    outbound: Outbound
    python: PythonTools
    executor: ToolExecutor
    followers: Mapping[str, asyncio.Task[None]]


@dataclass(frozen=True, slots=True)
class _Serving:
    """The policy, and what of it serves."""

    policy: Policy
    deployment: Deployment
    live: LivePolicy
    follower: asyncio.Task[None]


@dataclass(frozen=True, slots=True)
class _Chat:
    """All that belongs to conversations."""

    traces: TraceStore
    turns: Turns
    approvals: ApprovalStore
    answers: Answers
    followers: Mapping[str, asyncio.Task[None]]
    threads: Threads
    system_prompts: SystemPrompts
    erasure: Erasure


async def open_services(stack: AsyncExitStack, settings: Settings, given: Given) -> Services:
    """The parts of one server, running."""
    settings.home.mkdir(parents=True, exist_ok=True)
    engine = given.engine
    if engine is None:
        engine = await asyncio.to_thread(open_database, settings.database)
        stack.push_async_callback(close_database, engine)
    serving = await _open_serving(stack, settings, engine, given.policy)
    presence = await asyncio.to_thread(open_presence, stack, settings, engine)
    tools = await _open_tools(stack, settings, engine, given, presence)
    renderer = given.renderer
    if renderer is None:
        renderer = await asyncio.to_thread(Renderer.load, settings.model, constrained=settings.constrained)
    metrics = Metrics() if settings.metrics else None
    observer = _open_observer(stack, metrics)
    chat = await _open_chat(stack, settings, engine, presence, serving, tools, renderer, observer)
    keys = await _open_keys(stack, engine)
    oidc = OidcTokens(settings, tools.outbound) if settings.oidc_issuer is not None else None
    if oidc is not None:
        stack.push_async_callback(oidc.close)
    database = engine.url.render_as_string()
    log.info("ready", model=serving.policy.model, serving=serving.live.current().name, database=database)
    return Services(
        settings=settings,
        engine=engine,
        policy=serving.policy,
        catalogue=tools.catalogue,
        drafts=tools.drafts,
        secrets=tools.secrets,
        secret_source=tools.secret_source,
        journal=tools.journal,
        holds=tools.holds,
        outbound=tools.outbound,
        traces=chat.traces,
        deployment=serving.deployment,
        live=serving.live,
        executor=tools.executor,
        turns=chat.turns,
        approvals=chat.approvals,
        answers=chat.answers,
        threads=chat.threads,
        system_prompts=chat.system_prompts,
        erasure=chat.erasure,
        keys=keys,
        audit=AuditLog(engine),
        limits=AccessLimits(),
        waiting_room=WaitingRoom(running=settings.max_turns, waiting=settings.max_waiting, wait_s=settings.max_wait_s),
        oidc=oidc,
        followers={"deployment": serving.follower, **chat.followers, **tools.followers},
        metrics=metrics,
    )


def _open_observer(stack: AsyncExitStack, metrics: Metrics | None) -> Observer:
    """What watches the agent: metrics where they are on, spans where somebody takes them."""
    watching: list[Observer] = []
    export = trace_export()
    if export.wanted:
        from runtime.telemetry.tracing import Tracing, open_provider  # a third of a second to import

        provider = open_provider()
        stack.push_async_callback(asyncio.to_thread, provider.shutdown)
        watching.append(Tracing(provider, content=export.content))
    if metrics is not None:
        watching.append(metrics)
    return Observers(*watching)


async def _open_serving(stack: AsyncExitStack, settings: Settings, engine: Engine, policy: Policy | None) -> _Serving:
    if policy is None:
        policy = await _load_policy(settings)
        stack.push_async_callback(policy.close)
    deployment = Deployment(engine)
    # half of the places, so that turns on older adapters can end while newer ones come in
    live = LivePolicy(policy, deployment, poll_s=settings.poll_s, max_resident=max(2, settings.max_adapters // 2))
    await live.refresh()
    follower = asyncio.create_task(live.run(), name="follow-deployment")
    stack.push_async_callback(_stop, follower)
    return _Serving(policy, deployment, live, follower)


async def _open_tools(
    stack: AsyncExitStack, settings: Settings, engine: Engine, given: Given, presence: SharedPresence
) -> _ToolParts:
    secrets = open_secret_store(settings, engine)
    locked = await asyncio.to_thread(secrets.problem)
    if locked is not None:
        log.error("secrets do not open", problem=locked)
    python = given.python if given.python is not None else PythonTools()
    catalogue, journal, holds = Catalogue(engine), Journal(engine), Holds(engine)
    with acting(Caller(SHARED)):  # they are there for all tenants
        await asyncio.to_thread(catalogue.add_all, python.specs, replace=True)
        if settings.builtin_tools:
            await asyncio.to_thread(_register_builtins, catalogue, settings.home)
    outbound, source = open_outbound(settings), secret_source(secrets)
    executor = given.executor
    followers: dict[str, asyncio.Task[None]] = {}
    if executor is None:
        executor = own = open_executor(stack, settings, engine, presence, python=python)
        followers["journal"] = await _recover(stack, Recovery(journal, presence, catalogue, own))
    return _ToolParts(catalogue, Drafts(engine), holds, journal, secrets, source, outbound, python, executor, followers)


def open_presence(stack: AsyncExitStack, settings: Settings, engine: Engine) -> SharedPresence:
    """This process among those that may have turns and calls under way. Raises: StoreError."""
    presence = SharedPresence(settings.presence, engine)
    stack.callback(presence.close)
    return presence


def open_executor(
    stack: AsyncExitStack, settings: Settings, engine: Engine, presence: Presence, *, python: PythonTools | None = None
) -> Executor:
    """What calls tools, each once and on record; within the event loop that calls them."""
    executor = Executor.for_home(
        settings.home,
        outbound=open_outbound(settings),
        secrets=secret_source(open_secret_store(settings, engine)),
        calls=JournaledCalls(Journal(engine), presence),
        python=python,
        watch=partial(asyncio.to_thread, Holds(engine).observe),
        find=Catalogue(engine).get,
    )
    stack.push_async_callback(executor.close)
    return executor


async def _recover(stack: AsyncExitStack, recovery: Recovery) -> asyncio.Task[None]:
    """Calls that a stopped server left open are looked after first: what may have happened is told before anybody asks."""
    left = await asyncio.to_thread(recovery.give_up_writes)
    follower = asyncio.create_task(recovery.follow(left), name="follow-journal")
    stack.push_async_callback(_stop, follower)
    return follower


async def _open_chat(
    stack: AsyncExitStack,
    settings: Settings,
    engine: Engine,
    presence: SharedPresence,
    serving: _Serving,
    tools: _ToolParts,
    renderer: Renderer,
    observer: Observer,
) -> _Chat:
    limits = Limits(
        max_steps=settings.max_steps,
        turn_tokens=settings.turn_tokens,
        seconds=settings.turn_seconds,
        shown_tools=settings.shown_tools,
    )
    store, approvals = TraceStore(engine), ApprovalStore(engine, ttl_s=settings.approval_ttl_s)
    consent = ConsentRules(
        frozenset(settings.approvals_waived), frozenset(settings.trusted_tools), settings.confirm_below
    )
    nodes = Nodes(serving.policy, renderer, tools.executor, limits, approvals, consent=consent, observer=observer)
    checkpoints = await asyncio.to_thread(open_thread_checkpoints, engine, settings.old_thread_checkpoints)
    graph = build_graph(nodes, checkpoints)
    admissions = Admissions(engine, presence.owner)
    threads = Threads(HeadStore(engine), remembered_in(graph), is_held=admissions.is_running)
    followers: dict[str, asyncio.Task[None]] = {}

    def follow(name: str, endless: Coroutine[Any, Any, None]) -> None:
        followers[name] = asyncio.create_task(endless, name=f"follow-{name}")
        stack.push_async_callback(_stop, followers[name])

    follow("servers", presence.run())  # for as long as turns may run
    toolbox = RunnableTools(tools.catalogue, tools.python)
    retriever = await asyncio.to_thread(open_retriever, settings.retrieval, kept=settings.home / "vectors.db")
    stack.callback(retriever.close)
    await asyncio.to_thread(lambda: retriever.prepare(toolbox.list()))
    system_prompts = SystemPrompts(engine)
    turns = Turns(
        policy=serving.policy,
        graph=graph,
        checkpoints=checkpoints,
        threads=threads,
        tools=ShownTools(toolbox, retriever, limit=limits.shown_tools),
        recorder=store,
        pointer=serving.live,
        approvals=approvals,
        admissions=admissions,
        presence=presence,
        when_busy=WhenBusy(settings.when_busy),
        system_prompt=system_prompts.text,
        digests=lambda name: _digest(serving.deployment, name),
        limits=limits,
        base_name=serving.policy.model,
        observer=observer,
    )
    stack.push_async_callback(partial(turns.close, grace_s=settings.shutdown_grace_s))
    answers = Answers(approvals, threads, turns, poll_s=settings.poll_s)
    stack.push_async_callback(answers.close)
    follow("answers", answers.run())
    recovery = TurnRecovery(admissions, turns, presence, look_every_s=settings.poll_s)
    stack.push_async_callback(recovery.close)
    follow("turns", recovery.run())
    erasure = Erasure(engine, checkpoints.forget)
    return _Chat(store, turns, approvals, answers, followers, threads, system_prompts, erasure)


async def _open_keys(stack: AsyncExitStack, engine: Engine) -> Keys:
    """Verifies keys, and writes down now and then, and at the end, when each was last used."""
    keys = Keys(engine)

    async def follow() -> None:
        while True:
            await asyncio.sleep(USES_EVERY_S)
            try:
                await asyncio.to_thread(keys.write_uses)
            except StoreError as e:
                log.error("uses of keys not written", error=told(e))

    stack.push_async_callback(asyncio.to_thread, keys.write_uses)
    stack.push_async_callback(_stop, asyncio.create_task(follow(), name="follow-key-uses"))
    return keys


async def _load_policy(settings: Settings) -> Policy:
    """The model in this process, or a client of the vLLM servers."""
    if settings.vllm_urls:
        from runtime.policy.vllm import VllmPolicy

        return await asyncio.to_thread(
            VllmPolicy.load, settings.vllm_urls, model=settings.vllm_model, base=settings.model
        )
    from runtime.policy.embedded import EmbeddedPolicy  # torch takes seconds to import: only who runs a model pays

    return await asyncio.to_thread(
        EmbeddedPolicy.load, settings.model, max_adapters=settings.max_adapters, threads=settings.threads
    )


def _register_builtins(catalogue: Catalogue, home: Path) -> None:
    """Registers each tool that ships with hone once; one that was removed stays removed."""
    for spec in builtin_tools(home):
        try:
            catalogue.versions(spec.name)
        except UnknownTool:
            catalogue.add(spec)


def _digest(deployment: Deployment, adapter: str) -> str | None:
    try:
        return deployment.get(adapter).sha256
    except UnknownAdapter:
        return None


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
