"""create_app: the server as an ASGI application; `runtime.assembly` makes its parts."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.staticfiles import StaticFiles
from sqlalchemy.engine import Engine

from runtime.agent.nodes import ToolExecutor
from runtime.api import (
    access,
    adapters,
    approvals,
    audit,
    chat,
    errors,
    health,
    keys,
    metrics,
    models,
    responses,
    secrets,
    system_prompt,
    threads,
    tool_calls,
    tool_drafts,
    tool_holds,
    tool_report,
    tool_trial,
    tools,
    traces,
)
from runtime.api.openai_headers import OpenAIHeaders
from runtime.api.origin import SameOriginOnly
from runtime.api.request_log import RequestLog
from runtime.assembly import Given, open_services
from runtime.policy.base import Policy
from runtime.prompt import Renderer
from runtime.settings import Settings, check_model_path
from runtime.web import pages
from tools.python_tools import PythonTools


def create_app(
    settings: Settings,
    *,
    policy: Policy | None = None,
    renderer: Renderer | None = None,
    engine: Engine | None = None,
    executor: ToolExecutor | None = None,
    python: PythonTools | None = None,
) -> FastAPI:
    """The server as an ASGI application; its parts come to life when it starts.

    Args:
        settings: of this process.
        policy, renderer, engine, executor: what to use instead of what the settings name; whoever gives one closes it.
        python: functions of the calling program that become tools of this server, run in its process; they are registered
            when it starts. One that says no `side_effect` counts as a write.

    Raises:
        BadSettings: the model's path leads nowhere.
    """
    if policy is None or renderer is None:
        check_model_path(settings)
    given = Given(policy, renderer, engine, executor, python)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.services = await open_services(stack, settings, given)
            yield

    # the interactive pages would load their scripts from elsewhere; /openapi.json stays
    app = FastAPI(title="hone", lifespan=lifespan, docs_url=None, redoc_url=None, dependencies=[Depends(access.judged)])
    routes: list[access.Classified] = []
    app.add_middleware(access.Access, routes=routes, stall_s=settings.reader_stall_s)
    app.add_middleware(OpenAIHeaders)
    app.add_middleware(SameOriginOnly, hosts=(*settings.allowed_hosts, settings.host))
    app.add_middleware(RequestLog)
    errors.install(app)
    about_tools = (secrets, tool_calls, tool_drafts, tool_holds, tool_report, tool_trial, tools)
    about_access = (keys, audit)
    for module in (
        chat,
        responses,
        models,
        *about_tools,
        threads,
        traces,
        approvals,
        adapters,
        *about_access,
        system_prompt,
        health,
        pages,
    ):
        app.include_router(module.router)
    if settings.metrics:
        app.include_router(metrics.router)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    routes += access.classified(app)
    return app
