"""Runs one tool call: arguments checked against the schema, then the backend, within a time and a size limit.

Whatever goes wrong with a tool is a `CallResult` whose content tells the policy what happened and what to do about it;
only a cancelled turn leaves by an exception. Whether a call may be run *again* is not decided here.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from tools.builtin import builtin_functions
from tools.http_calls import HttpCaller
from tools.json_schema import argument_errors
from tools.mcp_sessions import DefinitionWatch, McpSessions
from tools.outcome import CallFault, CallResult, error_text, failure, shorten, storable
from tools.python_tools import PythonTools
from tools.question import Answer, Question
from tools.secrets import EnvironmentSecrets, SecretSource
from tools.spec import (
    BuiltinBackend,
    CallStatus,
    ClientBackend,
    HttpBackend,
    McpBackend,
    PythonBackend,
    SideEffect,
    ToolSpec,
)
from tools.transport import Outbound

__all__ = ["CallResult", "Executor", "argument_errors"]

_Outcome: TypeAlias = tuple[CallStatus, str, Question | None]
"""What came of it, what the policy is shown, and what the tool asks."""


class Executor:
    """Dispatches on the kind of a tool's backend; owns the connections that it was given or made."""

    def __init__(
        self,
        *,
        builtins: Mapping[str, Callable[..., Any]] | None = None,
        outbound: Outbound | None = None,
        mcp: McpSessions | None = None,
        secrets: SecretSource | None = None,
        python: PythonTools | None = None,
        watch: DefinitionWatch | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """
        Args:
            builtins: functions by the name that `BuiltinBackend.function` gives; see `tools.builtin`.
            outbound: what HTTP endpoints and MCP servers may be called; None: public addresses.
            mcp: the sessions of MCP servers; None: made here.
            secrets: values of the secrets that definitions name; None: the environment's.
            python: the functions of the program that hone is embedded in; None: there are none.
            watch: is told what MCP servers offer, where `mcp` is made here.
            clock: seconds, for latencies.
        """
        self._builtins = dict(builtins or {})
        outbound = outbound if outbound is not None else Outbound()
        self._http_client = outbound.client()
        self._http = HttpCaller(self._http_client, secrets if secrets is not None else EnvironmentSecrets())
        self._mcp = mcp if mcp is not None else McpSessions(outbound, watch=watch)
        self._python = python if python is not None else PythonTools()
        self._clock = clock

    @classmethod
    def for_home(
        cls,
        home: Path,
        *,
        outbound: Outbound | None = None,
        python: PythonTools | None = None,
        watch: DefinitionWatch | None = None,
    ) -> "Executor":
        """An executor whose built-in tools keep their data in `home`."""
        return cls(builtins=builtin_functions(home), outbound=outbound, python=python, watch=watch)

    async def run(
        self, spec: ToolSpec, arguments: dict[str, Any], *, call_id: str, answer: Answer | None = None
    ) -> CallResult:
        """
        Args:
            call_id: names this call; a tool that is not a plain read receives it as its idempotency key.
            answer: to what the tool asked when it was called with the same arguments.
        """
        started = self._clock()
        errors = argument_errors(spec.parameters, arguments)
        if errors:
            status, content, question = _error(CallStatus.BAD_ARGUMENTS, "; ".join(errors))
        else:
            status, content, question = await self._outcome(spec, arguments, call_id, answer)
        return CallResult(status, content, latency_ms=(self._clock() - started) * 1000, question=question)

    async def close(self) -> None:
        await self._mcp.close()
        await self._http_client.aclose()

    async def _outcome(
        self, spec: ToolSpec, arguments: dict[str, Any], call_id: str, answer: Answer | None
    ) -> _Outcome:
        began = asyncio.get_running_loop().time()
        limit = asyncio.timeout(spec.timeout_s)
        try:
            async with limit:
                content = storable(await self._call(spec, arguments, call_id, answer))
        except CallFault as e:
            return _error(e.status, str(e), e.question)
        except Exception as e:  # a tool is foreign code: whatever it raises is its outcome, not our crash
            if limit.expired():
                if isinstance(spec.backend, McpBackend):
                    self._mcp.unanswered(spec.backend.server, began)
                return _error(CallStatus.TIMEOUT, f"{spec.name} gave no answer within {spec.timeout_s:g} s")
            return _error(CallStatus.FAILED, f"{spec.name} broke: {type(e).__name__}: {e}")
        size = len(content.encode())
        if size > spec.max_result_bytes:
            too_large = (
                f"the result of {spec.name} has {size:,} bytes, more than the limit of {spec.max_result_bytes:,}"
            )
            return _error(CallStatus.FAILED, f"{too_large}; ask for less")
        return CallStatus.OK, content, None

    async def _call(self, spec: ToolSpec, arguments: dict[str, Any], call_id: str, answer: Answer | None) -> str:
        match spec.backend:
            case HttpBackend() as backend:
                return await self._http.call(spec, backend, arguments, call_id=call_id)
            case McpBackend() as backend:
                repeatable = spec.side_effect is not SideEffect.WRITE
                return await self._mcp.call(backend, arguments, repeatable=repeatable, answer=answer)
            case BuiltinBackend(function=name):
                return await self._call_builtin(name, arguments)
            case PythonBackend(function=name):
                return await self._python.call(name, arguments)
            case ClientBackend():
                raise failure(f"{spec.name} runs at the chat client, not here")

    async def _call_builtin(self, name: str, arguments: dict[str, Any]) -> str:
        function = self._builtins.get(name)
        if function is None:
            known = ", ".join(sorted(self._builtins)) or "none"
            raise CallFault(CallStatus.UNKNOWN_TOOL, f"there is no built-in function {name!r}; there are: {known}")
        # In a thread, since it may wait for a disk; built-ins bound their own work, for a thread cannot be stopped.
        result = await asyncio.to_thread(function, **arguments)
        return json.dumps(result, ensure_ascii=False, allow_nan=False)


def _error(status: CallStatus, message: str, question: Question | None = None) -> _Outcome:
    return status, error_text(status, storable(shorten(message))), question
