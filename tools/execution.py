"""Runs one tool call: arguments checked, a place within the tool's bounds, then the backend, within time and size.

Whatever goes wrong with a tool is a `CallResult` whose content tells the policy what happened and what to do about it;
only a cancelled turn leaves by an exception. A call that may be run again is, when it fails of something that passes.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tools.builtin import builtin_functions
from tools.call_limits import CallLimits
from tools.errors import ToolError, UnknownTool
from tools.http_auth import Credentials
from tools.http_calls import HttpCaller
from tools.journal import ReadRow
from tools.journaled_calls import JournaledCalls
from tools.json_schema import argument_errors
from tools.mcp_sessions import DefinitionWatch, McpSessions
from tools.outcome import CallFault, CallResult, error_text, failure, shorten, storable, unconfirmed, unknown_effect
from tools.postcondition import Unconfirmed, confirm, read_arguments
from tools.python_tools import PythonTools
from tools.question import Answer, Question
from tools.retries import Sleep, with_retries
from tools.secrets import EnvironmentSecrets, SecretSource
from tools.spec import (
    BuiltinBackend,
    CallStatus,
    ClientBackend,
    HttpBackend,
    McpBackend,
    Postcondition,
    PythonBackend,
    SideEffect,
    ToolSpec,
)
from tools.tenancy import SHARED, within
from tools.transport import Outbound

__all__ = ["CallResult", "Executor", "argument_errors"]

CONFIRM_LIMIT_S = 10.0
"""For a postcondition's reading, beyond the time that it may wait."""
LOOK_AGAIN_S = 0.5


class Executor:
    """Dispatches on the kind of a tool's backend; owns the connections that it was given or made."""

    def __init__(
        self,
        *,
        builtins: Mapping[str, Callable[..., Any]] | None = None,
        outbound: Outbound | None = None,
        mcp: McpSessions | None = None,
        secrets: SecretSource | None = None,
        calls: JournaledCalls | None = None,
        python: PythonTools | None = None,
        watch: DefinitionWatch | None = None,
        find: Callable[[str], ToolSpec] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """
        Args:
            builtins: functions by the name that `BuiltinBackend.function` gives; see `tools.builtin`.
            outbound: what HTTP endpoints and MCP servers may be called; None: public addresses.
            mcp: the sessions of MCP servers; None: made here.
            secrets: values of the secrets that definitions name; None: the environment's.
            calls: makes each call once and keeps it on record; None: nothing is kept.
            python: the functions of the program that hone is embedded in; None: there are none.
            watch: is told what MCP servers offer, where `mcp` is made here.
            find: gives the registered tool of a name, for postconditions that read, or raises ToolError; None: there are none.
            clock: seconds, for latencies.
            sleep: between the attempts of one call.
        """
        self._builtins = dict(builtins or {})
        outbound = outbound if outbound is not None else Outbound()
        self._http_client = outbound.client()
        source = secrets if secrets is not None else EnvironmentSecrets()
        credentials = Credentials(self._http_client, source, allowed=outbound.allowed)
        self._http = HttpCaller(self._http_client, credentials)
        self._mcp = mcp if mcp is not None else McpSessions(outbound, watch=watch, credentials=credentials)
        self._python = python if python is not None else PythonTools()
        self._calls = calls
        self._find = find if find is not None else _find_none
        self._clock = clock
        self._sleep = sleep
        self._limits = CallLimits()

    @classmethod
    def for_home(
        cls,
        home: Path,
        *,
        outbound: Outbound | None = None,
        secrets: SecretSource | None = None,
        calls: JournaledCalls | None = None,
        python: PythonTools | None = None,
        watch: DefinitionWatch | None = None,
        find: Callable[[str], ToolSpec] | None = None,
    ) -> "Executor":
        """An executor whose built-in tools keep their data in `home`."""
        return cls(
            builtins=builtin_functions(home),
            outbound=outbound,
            secrets=secrets,
            calls=calls,
            python=python,
            watch=watch,
            find=find,
        )

    @property
    def makes_each_call_once(self) -> bool:
        """Whether a call id that is given again gets what came of the first, and no second effect."""
        return self._calls is not None

    async def run(
        self,
        spec: ToolSpec,
        arguments: dict[str, Any],
        *,
        call_id: str,
        answer: Answer | None = None,
        reads: list[ReadRow] | None = None,
    ) -> CallResult:
        """
        Args:
            call_id: names this call; a tool that is not a plain read receives it as its idempotency key. Given again, it
                gets the outcome that is on record.
            answer: to what the tool asked when it was called with the same arguments.
            reads: takes the journal's row of a call that only reads, for the caller to write with what came of it
                (`tools.journal.add_reads`); None: it is written at once.

        Raises: JournalUnavailable: the call cannot be written down, so it was not made.
        """
        errors = argument_errors(spec.parameters, arguments)
        if errors:
            return _error(CallStatus.BAD_ARGUMENTS, "; ".join(errors))
        perform = partial(self._perform, spec, arguments, call_id, answer)
        place = partial(self._limits.place, spec)
        try:
            if self._calls is not None:
                return await self._calls.once(spec, arguments, call_id, perform, place=place, reads=reads)
            async with place():
                return await perform()
        except CallFault as e:
            return _error(e.status, str(e))

    async def close(self) -> None:
        await self._mcp.close()
        await self._http_client.aclose()

    async def _perform(
        self, spec: ToolSpec, arguments: dict[str, Any], call_id: str, answer: Answer | None
    ) -> CallResult:
        started = self._clock()
        result = await self._outcome(spec, arguments, call_id, answer)
        if result.status is CallStatus.OK and spec.postcondition is not None:
            try:
                with keeper_of(spec):
                    await self._confirm(spec.postcondition, arguments, call_id, result.content)
            except Unconfirmed as e:
                result = _error(CallStatus.UNCONFIRMED, f"{unconfirmed(spec.name)} ({e}); it said: {result.content}")
        return replace(result, latency_ms=(self._clock() - started) * 1000)

    async def _outcome(
        self, spec: ToolSpec, arguments: dict[str, Any], call_id: str, answer: Answer | None
    ) -> CallResult:
        began = asyncio.get_running_loop().time()
        limit = asyncio.timeout(spec.timeout_s)
        try:
            async with limit:
                call = partial(self._call, spec, arguments, call_id, answer)
                content = storable(await with_retries(spec, call, sleep=self._sleep))
        except CallFault as e:
            return _told(spec, e)
        except Exception as e:  # a tool is foreign code: whatever it raises is its outcome, not our crash
            if limit.expired():
                if isinstance(spec.backend, McpBackend):
                    with keeper_of(spec):
                        self._mcp.unanswered(spec.backend.server, began)
                late = f"{spec.name} gave no answer within {spec.timeout_s:g} s"
                return _told(spec, CallFault(CallStatus.TIMEOUT, late, may_have_run=True))
            # A function of ours has answered by what it raised; a connection has only broken.
            sent = not isinstance(spec.backend, BuiltinBackend)
            return _told(spec, failure(f"{spec.name} broke: {type(e).__name__}: {e}", may_have_run=sent))
        size = len(content.encode())
        if size > spec.max_result_bytes:
            too_large = (
                f"the result of {spec.name} has {size:,} bytes, more than the limit of {spec.max_result_bytes:,}"
            )
            return _told(spec, failure(f"{too_large}; ask for less", may_have_run=True))
        return CallResult(CallStatus.OK, content, 0.0)

    async def _confirm(self, check: Postcondition, arguments: dict[str, Any], call_id: str, answer: str) -> None:
        """Raises: Unconfirmed."""
        if check.read is None:
            return confirm(check, arguments, answer)
        try:
            async with asyncio.timeout(check.within_s + CONFIRM_LIMIT_S):
                reader = await asyncio.to_thread(self._find, check.read.tool)
                given = read_arguments(check, arguments, answer)
                faults = argument_errors(reader.parameters, given)
                if faults:
                    raise Unconfirmed(f"{reader.name} could not read it: {faults[0]}")
                over = self._clock() + check.within_s
                while True:
                    seen = await self._outcome(reader, given, f"{call_id}.check", None)
                    if seen.status is not CallStatus.OK:
                        raise Unconfirmed(f"{reader.name} could not read it: {seen.content}")
                    try:
                        return confirm(check, arguments, answer, seen.content)
                    except Unconfirmed:
                        if self._clock() >= over:
                            raise
                    await self._sleep(LOOK_AGAIN_S)
        except TimeoutError as e:
            raise Unconfirmed(f"{check.read.tool} gave no answer in time") from e
        except ToolError as e:
            raise Unconfirmed(str(e)) from e

    async def _call(self, spec: ToolSpec, arguments: dict[str, Any], call_id: str, answer: Answer | None) -> str:
        match spec.backend:
            case HttpBackend() as backend:
                with keeper_of(spec):
                    return await self._http.call(spec, backend, arguments, call_id=call_id)
            case McpBackend() as backend:
                repeatable = spec.side_effect is not SideEffect.WRITE
                with keeper_of(spec):
                    return await self._mcp.call(
                        backend, arguments, tool=spec.name, repeatable=repeatable, answer=answer
                    )
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


def keeper_of(spec: ToolSpec) -> AbstractContextManager[None]:
    """Whose secrets, connections and other tools a call may use while the block runs: a tool of all tenants brings its own,
    and never sees the caller's; a tenant's tool has those of its tenant."""
    return within(SHARED) if spec.is_shared else nullcontext()


def _find_none(name: str) -> ToolSpec:
    raise UnknownTool(f"no tool {name!r} is at hand here")


def _told(spec: ToolSpec, fault: CallFault) -> CallResult:
    """A write that may have happened is neither done nor failed, and nobody but a person may try it again."""
    if fault.may_have_run and spec.side_effect is SideEffect.WRITE:
        return _error(CallStatus.UNKNOWN, f"{fault}; {unknown_effect(spec.name)}")
    return _error(fault.status, str(fault), fault.question)


def _error(status: CallStatus, message: str, question: Question | None = None) -> CallResult:
    return CallResult(status, error_text(status, storable(shorten(message))), 0.0, question)
