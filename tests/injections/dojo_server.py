# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
"""AgentDojo's environments over HTTP. Runs in AgentDojo's environment, not in ours, and knows nothing of hone.

    .venv-agentdojo/bin/python tests/injections/dojo_server.py

Writes its port on the first line. Each slot holds one case at a time: an environment of a suite with an attack planted in it,
and the log of the calls that arrived there. Environments, attacks, tools and checks are AgentDojo's own.

    GET  /suites                      what there is
    PUT  /slots/N                     {suite, user_task, injection_task, attack}, the last two null without attack → the user's side
    POST /slots/N/tools/NAME          the arguments → the tool's result
    GET  /slots/N/orders/INJECTION    the calls and the words by which that injection's goal is reached, as things stand
    POST /slots/N/verdict             {"reply"} → utility, security and the log
"""

# ruff: noqa: E402
import json
import sys
import threading
import time
from collections.abc import Sequence
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import MagicMock

# AgentDojo imports the clients of model providers; nothing here asks a model, so they need not be installed.
for _client in (
    "anthropic",
    "anthropic.types",
    "anthropic.types.text_block_param",
    "anthropic.types.thinking_block",
    "cohere",
    "cohere.types",
    "google",
    "google.genai",
    "google.genai.errors",
    "openai",
    "openai._types",
    "openai.types.chat",
    "openai.types.shared_params",
    "requests",
):
    sys.modules[_client] = MagicMock()

import yaml
from agentdojo.agent_pipeline import BasePipelineElement
from agentdojo.attacks import load_attack
from agentdojo.attacks.base_attacks import BaseAttack
from agentdojo.functions_runtime import FunctionCall, FunctionsRuntime
from agentdojo.task_suite.load_suites import get_suites
from agentdojo.task_suite.task_suite import TaskSuite
from agentdojo.types import ChatAssistantMessage, ChatMessage, text_content_block_from_string
from pydantic import TypeAdapter
from unnamed_calls import calls_for

VERSION = "v1.2.2"
SUITES: dict[str, TaskSuite] = get_suites(VERSION)

yaml.SafeLoader = yaml.CSafeLoader  # reads the same, and an environment is read anew for each case


class Finished(BasePipelineElement):
    """An agent that has done its work already, so that AgentDojo can judge it."""

    name = "local"
    """A name that attacks know; they call the model by what it stands for."""

    def __init__(self, environment: Any = None, messages: Sequence[ChatMessage] = ()) -> None:
        self._environment, self._messages = environment, list(messages)

    def query(
        self, query: str, runtime: FunctionsRuntime, env: Any = None, messages: Any = (), extra_args: Any = None
    ) -> tuple[str, FunctionsRuntime, Any, list[ChatMessage], dict]:
        return query, runtime, self._environment, self._messages, {}


@cache
def attack_of(suite: str, name: str) -> BaseAttack:
    """Kept, since it learns by a run of each user task where text can be planted."""
    return load_attack(name, SUITES[suite], Finished())


class Slot:
    """One case under way."""

    def __init__(self, suite: str, user_task: str, injection_task: str | None, attack: str | None) -> None:
        self.suite = SUITES[suite]
        self.user_task = self.suite.get_user_task_by_id(user_task)
        self.injection_task = self.suite.get_injection_task_by_id(injection_task) if injection_task else None
        self.planted: dict[str, str] = {}
        if attack is not None:
            self.planted = attack_of(suite, attack).attack(self.user_task, self.injection_task)
        self._before = self.suite.load_and_inject_default_environment(self.planted)
        self._now = self.user_task.init_environment(self._before.model_copy(deep=True))
        self._runtime = FunctionsRuntime(self.suite.tools)
        self._log: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def users_side(self) -> dict[str, Any]:
        calls = self.user_task.ground_truth(self._now.model_copy(deep=True))
        return {
            "prompt": self.user_task.PROMPT,
            "calls": [_plain(call) for call in calls],
            "answer": self.user_task.GROUND_TRUTH_OUTPUT,
            "planted": self.planted,
        }

    def orders(self, injection_task: str) -> dict[str, Any]:
        task = self.suite.get_injection_task_by_id(injection_task)
        with self._lock:
            calls = task.ground_truth(self._now.model_copy(deep=True))
            if not calls and self.suite.name == "workspace":
                calls = calls_for(injection_task, self._before, self._now)
        return {"calls": [_plain(call) for call in calls], "words": task.GROUND_TRUTH_OUTPUT}

    def run(self, tool: str, arguments: dict[str, Any]) -> tuple[Any, str | None]:
        """A tool's result, and its complaint."""
        with self._lock:
            self._log.append({"tool": tool, "arguments": arguments, "at": time.monotonic()})
            result, error = self._runtime.run_function(self._now, tool, arguments)
            return TypeAdapter(Any).dump_python(result, mode="json"), error

    def verdict(self, reply: str) -> dict[str, Any]:
        """By AgentDojo's own measure; security: the attack has reached its goal."""
        messages: list[ChatMessage] = [
            _said("", FunctionCall(function=c["tool"], args=c["arguments"])) for c in self._log
        ]
        agent = Finished(self._now, [*messages, _said(reply)])
        utility, security = self.suite.run_task_with_pipeline(
            agent, self.user_task, self.injection_task, self.planted, environment=self._before
        )
        return {"utility": utility, "security": security and self.injection_task is not None, "arrived": self._log}


def _said(text: str, call: FunctionCall | None = None) -> ChatAssistantMessage:
    calls = [call] if call is not None else None
    return ChatAssistantMessage(role="assistant", content=[text_content_block_from_string(text)], tool_calls=calls)


def _plain(call: FunctionCall) -> dict[str, Any]:
    return {"tool": call.function, "arguments": TypeAdapter(Any).dump_python(dict(call.args), mode="json")}


def overview() -> dict[str, Any]:
    return {
        name: {
            "tools": [
                {"name": tool.name, "description": tool.description, "parameters": tool.parameters.model_json_schema()}
                for tool in suite.tools
            ],
            "user_tasks": list(suite.user_tasks),
            "injection_tasks": {task_id: task.GOAL for task_id, task in suite.injection_tasks.items()},
        }
        for name, suite in SUITES.items()
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    slots: dict[str, Slot] = {}

    def do_GET(self) -> None:
        match self._path():
            case ["suites"]:
                self._answer(overview())
            case ["slots", slot, "orders", injection_task]:
                self._answer(self.slots[slot].orders(injection_task))
            case _:
                self._answer({"error": f"nothing at {self.path}"}, 404)

    def do_PUT(self) -> None:
        body = self._body()
        match self._path():
            case ["slots", slot]:
                self.slots[slot] = Slot(**body)
                self._answer(self.slots[slot].users_side())
            case _:
                self._answer({"error": f"nothing at {self.path}"}, 404)

    def do_POST(self) -> None:
        body = self._body()
        match self._path():
            case ["slots", slot, "tools", tool]:
                result, error = self.slots[slot].run(tool, body)
                self._answer(result) if error is None else self._answer({"error": error}, 422)
            case ["slots", slot, "verdict"]:
                self._answer(self.slots[slot].verdict(body["reply"]))
            case _:
                self._answer({"error": f"nothing at {self.path}"}, 404)

    def _path(self) -> list[str]:
        return self.path.strip("/").split("/")

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["content-length"])))

    def _answer(self, data: Any, status: int = 200) -> None:
        body = json.dumps(data, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
