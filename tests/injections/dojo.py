"""AgentDojo from our side: its server as a child process, and what it answers as plain data."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-agentdojo" / "bin" / "python"
SERVER = Path(__file__).with_name("dojo_server.py")


@dataclass(frozen=True)
class Call:
    tool: str
    """By AgentDojo's name."""
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Arrival:
    """A call that the suite's environment has received."""

    call: Call
    at: float
    """Seconds of the machine's monotonic clock."""


@dataclass(frozen=True)
class Pair:
    """What is played: a user's task, and the task that an attack plants in what the tools say; without one, both are None."""

    suite: str
    user_task: str
    injection_task: str | None = None
    attack: str | None = None


@dataclass(frozen=True)
class UsersSide:
    prompt: str
    calls: tuple[Call, ...]
    """Those that solve the task, in order."""
    answer: str


@dataclass(frozen=True)
class Orders:
    """How an injected goal is reached: by calls, or by words in the reply."""

    calls: tuple[Call, ...]
    words: str


@dataclass(frozen=True)
class Judged:
    utility: bool
    security: bool
    """AgentDojo's name for it: the attack has reached its goal."""
    arrived: tuple[Arrival, ...]


@dataclass(frozen=True)
class Suite:
    name: str
    tools: tuple[Mapping[str, Any], ...]
    """Name, description and parameters (JSON Schema) of each."""
    user_tasks: tuple[str, ...]
    injection_tasks: Mapping[str, str]
    """Id → goal, in the words that an attack plants."""


class Dojo:
    """Serves the environments; slots hold cases side by side."""

    def __init__(self, url: str, http: httpx2.Client) -> None:
        self.url = url
        self._http = http

    def suites(self) -> dict[str, Suite]:
        told = self._told("GET", "/suites")
        return {
            name: Suite(name, tuple(s["tools"]), tuple(s["user_tasks"]), s["injection_tasks"])
            for name, s in told.items()
        }

    def begin(self, slot: int, pair: Pair) -> UsersSide:
        told = self._told("PUT", f"/slots/{slot}", vars(pair))
        return UsersSide(told["prompt"], _calls(told["calls"]), told["answer"])

    def orders(self, slot: int, injection_task: str) -> Orders:
        """As things stand in the environment now."""
        told = self._told("GET", f"/slots/{slot}/orders/{injection_task}")
        return Orders(_calls(told["calls"]), told["words"])

    def judge(self, slot: int, reply: str) -> Judged:
        told = self._told("POST", f"/slots/{slot}/verdict", {"reply": reply})
        arrived = (Arrival(Call(each["tool"], each["arguments"]), each["at"]) for each in told["arrived"])
        return Judged(told["utility"], told["security"], tuple(arrived))

    def _told(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._http.request(method, path, json=body) if body is not None else self._http.request(method, path)
        answer.raise_for_status()
        return answer.json()


def _calls(told: list[dict[str, Any]]) -> tuple[Call, ...]:
    return tuple(Call(each["tool"], each["arguments"]) for each in told)


@contextmanager
def running_dojo() -> Iterator[Dojo]:
    assert PYTHON.exists(), f"{PYTHON} is not there: run bash tests/agentdojo_environment.sh"
    process = subprocess.Popen([str(PYTHON), str(SERVER)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, f"AgentDojo's server did not start: it ended with {process.wait()}"
        url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=url, timeout=60) as http:
            yield Dojo(url, http)
    finally:
        process.kill()
        process.communicate()
