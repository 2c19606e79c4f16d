"""A real server on a free port whose policy says what a test wrote down."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from openai import OpenAI

from runtime.app import create_app
from runtime.prompt import Renderer
from runtime.services import Services
from runtime.settings import Settings
from tests.runtime.agent_parts import TableExecutor
from tests.runtime.scripted_policy import ScriptedPolicy
from tests.tools.serving import serving
from tools import PythonTools
from tools.execution import Executor
from tools.spec import ToolSpec

THIS_MACHINE = ("127.0.0.0/8", "::1")


@dataclass(frozen=True)
class ServedApp:
    url: str
    policy: ScriptedPolicy
    services: Services
    client: OpenAI
    http: httpx2.Client

    def chat(self, text: str, **others: Any) -> httpx2.Response:
        """One user message, as plain HTTP."""
        return self.http.post(
            "/v1/chat/completions", json={"model": "hone", "messages": [{"role": "user", "content": text}], **others}
        )


@contextmanager
def served_app(
    home: Path,
    renderer: Renderer,
    script: Sequence[Any] = (),
    *,
    tools: Sequence[ToolSpec] = (),
    results: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
    python: PythonTools | None = None,
    logprob: Mapping[str | None, float] | None = None,
    **settings: Any,
) -> Iterator[ServedApp]:
    """`results` makes the tools answer from a table; without it they are run, and may call this machine. Approvals are
    waived where a tool's developer waives them."""
    policy = ScriptedPolicy(renderer.tokenizer, script)
    policy.logprob.update(logprob or {})
    usual = {"builtin_tools": False, "allowed_networks": THIS_MACHINE, "approvals_waived": ("*",)}
    chosen = Settings(home=home, **{**usual, **settings})
    fake = TableExecutor(results) if results is not None else executor
    app = create_app(chosen, policy=policy, renderer=renderer, executor=fake, python=python)
    with serving(app) as url, httpx2.Client(base_url=url, timeout=30) as http:
        for spec in tools:
            app.state.services.catalogue.add(spec)
        with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30) as client:
            yield ServedApp(url, policy, app.state.services, client, http)
