"""create_app: builds one server and wires its parts together; nothing else in the runtime does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiosqlite
import structlog
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from sqlalchemy.engine import Engine

from runtime.agent.answers import Answers
from runtime.agent.consent import ConsentRules
from runtime.agent.graph import AgentGraph, build_graph
from runtime.agent.nodes import Nodes, ToolExecutor
from runtime.agent.state import Limits
from runtime.agent.threads import HeadStore, Threads
from runtime.agent.turns import Turns, remembered_in
from runtime.api import (
    adapters,
    approvals,
    chat,
    errors,
    health,
    models,
    secrets,
    tool_calls,
    tool_drafts,
    tool_report,
    tools,
    traces,
)
from runtime.api.origin import SameOriginOnly
from runtime.approvals.store import ApprovalStore
from runtime.database import open_database
from runtime.errors import UnknownAdapter
from runtime.outbound import open_outbound
from runtime.policy.base import Policy
from runtime.policy.deployment import Deployment
from runtime.policy.swap import LivePolicy
from runtime.prompt import Renderer
from runtime.secrets import open_secret_store, secret_source
from runtime.services import Services
from runtime.settings import Settings, check_model_path
from runtime.traces.store import TraceStore
from runtime.web import pages
from tools.builtin import builtin_tools
from tools.catalogue import Catalogue
from tools.drafts import Drafts
from tools.errors import UnknownTool
from tools.execution import Executor
from tools.journal import Journal
from tools.journaled_calls import JournaledCalls
from tools.presence import Presence
from tools.recovery import Recovery
from tools.retrieval import open_retriever
from tools.secrets import SecretSource
from tools.transport import Outbound

log = structlog.get_logger(__name__)


def create_app(
    settings: Settings,
    *,
    policy: Policy | None = None,
    renderer: Renderer | None = None,
    engine: Engine | None = None,
    executor: ToolExecutor | None = None,
) -> FastAPI:
    """The server as an ASGI application; its parts come to life when it starts.

    Args:
        settings: of this process.
        policy, renderer, engine, executor: what to use instead of what the settings name; whoever gives one closes it.

    Raises:
        BadSettings: the model's path leads nowhere.
    """
    if policy is None or renderer is None:
        check_model_path(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.services = await _build(stack, settings, policy, renderer, engine, executor)
            yield

    # the interactive pages would load their scripts from elsewhere; /openapi.json stays
    app = FastAPI(title="hone", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(SameOriginOnly, hosts=(*settings.allowed_hosts, settings.host))
    errors.install(app)
    about_tools = (secrets, tool_calls, tool_drafts, tool_report, tools)
    for module in (chat, models, *about_tools, traces, approvals, adapters, health, pages):
        app.include_router(module.router)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    return app


async def _build(
    stack: AsyncExitStack,
    settings: Settings,
    policy: Policy | None,
    renderer: Renderer | None,
    engine: Engine | None,
    executor: ToolExecutor | None,
) -> Services:
    """Makes what was not given and leaves its closing to the stack, in reverse order."""
    settings.home.mkdir(parents=True, exist_ok=True)
    if engine is None:
        engine = await asyncio.to_thread(open_database, settings.database)
        stack.callback(engine.dispose)
    if renderer is None:
        renderer = await asyncio.to_thread(Renderer.load, settings.model, constrained=settings.constrained)
    if policy is None:
        policy = await _load_policy(settings)
        stack.push_async_callback(policy.close)
    outbound = open_outbound(settings)
    secret_store = open_secret_store(settings, engine)
    locked = await asyncio.to_thread(secret_store.problem)
    if locked is not None:
        log.error("secrets do not open", problem=locked)
    catalogue, journal = Catalogue(engine), Journal(engine)
    if executor is None:
        executor = await _open_executor(stack, settings, outbound, catalogue, journal, secret_source(secret_store))
    if settings.builtin_tools:
        await asyncio.to_thread(_register_builtins, catalogue, settings.home)

    deployment = Deployment(engine)
    # half of the places, so that turns on older adapters can end while newer ones come in
    live = LivePolicy(policy, deployment, poll_s=settings.poll_s, max_resident=max(2, settings.max_adapters // 2))
    await live.refresh()
    follower = asyncio.create_task(live.run(), name="follow-deployment")
    stack.push_async_callback(_stop, follower)

    limits = Limits(max_steps=settings.max_steps, turn_tokens=settings.turn_tokens, shown_tools=settings.shown_tools)
    approval_store = ApprovalStore(engine, ttl_s=settings.approval_ttl_s)
    consent = ConsentRules(frozenset(settings.approvals_waived), frozenset(settings.trusted_tools))
    nodes = Nodes(policy, renderer, executor, limits, approval_store, consent=consent)
    graph = await _open_graph(stack, settings.thread_checkpoints, nodes)
    store = TraceStore(engine)
    threads = Threads(HeadStore(engine), remembered_in(graph))
    turns = Turns(
        policy=policy,
        graph=graph,
        threads=threads,
        toolbox=catalogue,
        retriever=await asyncio.to_thread(open_retriever, settings.retrieval),
        recorder=store,
        pointer=live,
        approvals=approval_store,
        digests=lambda name: _digest(deployment, name),
        limits=limits,
        base_name=policy.model,
    )
    stack.push_async_callback(turns.close)
    answers = Answers(approval_store, threads, turns, poll_s=settings.poll_s)
    stack.push_async_callback(answers.close)
    stack.push_async_callback(_stop, asyncio.create_task(answers.run(), name="follow-answers"))
    log.info("ready", model=policy.model, serving=live.current().name, database=engine.url.render_as_string())
    return Services(
        settings=settings,
        engine=engine,
        policy=policy,
        catalogue=catalogue,
        drafts=Drafts(engine),
        secrets=secret_store,
        journal=journal,
        outbound=outbound,
        traces=store,
        deployment=deployment,
        live=live,
        turns=turns,
        approvals=approval_store,
        answers=answers,
        is_following=lambda: not follower.done(),
    )


async def _open_executor(
    stack: AsyncExitStack,
    settings: Settings,
    outbound: Outbound,
    catalogue: Catalogue,
    journal: Journal,
    secrets: SecretSource,
) -> Executor:
    """Calls that a stopped server left open are looked after first: what may have happened is told before anybody asks."""
    presence = Presence(settings.home / "servers")
    stack.callback(presence.close)
    calls = JournaledCalls(journal, presence)
    executor = Executor.for_home(settings.home, outbound=outbound, secrets=secrets, calls=calls)
    stack.push_async_callback(executor.close)
    recovery = Recovery(journal, presence, catalogue, executor)
    left = await asyncio.to_thread(recovery.give_up_writes)
    follower = asyncio.create_task(recovery.follow(left), name="follow-journal")
    stack.push_async_callback(_stop, follower)
    return executor


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


async def _open_graph(stack: AsyncExitStack, checkpoints: Path, nodes: Nodes) -> AgentGraph:
    connection = await stack.enter_async_context(aiosqlite.connect(checkpoints))
    saver = AsyncSqliteSaver(connection)
    await saver.setup()
    return build_graph(nodes, saver)


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
