"""Which tools a turn sees: those that the client gives or names, or of all registered ones the few that the talk is about."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from runtime.agent.messages import Message
from runtime.agent.turn_request import TurnRequest
from runtime.errors import BadRequest
from runtime.prompt import called_tools, recent_words
from tools.retrieval import Retriever
from tools.spec import ToolSpec

_KEPT_SCHEMAS = 2048


class Toolbox(Protocol):
    """The registered tools."""

    def list(self) -> Sequence[ToolSpec]: ...


class ShownTools:
    def __init__(self, toolbox: Toolbox, retriever: Retriever, *, limit: int) -> None:
        """Args: limit: registered tools that are shown, where the request names none; 0: all."""
        self._toolbox = toolbox
        self._retriever = retriever
        self._limit = limit
        self._schemas: dict[str, dict[str, Any]] = {}
        """By the sha256 of their tools; nobody changes one."""

    async def offered(self, request: TurnRequest) -> Sequence[ToolSpec]:
        """All that the turn may be shown. Raises: BadRequest: the request names a tool that is not registered."""
        if not request.show_tools:
            return ()
        if request.client_tools is not None:
            return request.client_tools
        return _chosen(await asyncio.to_thread(self._toolbox.list), request.only_tools)

    def shown(
        self, request: TurnRequest, offered: Sequence[ToolSpec], messages: Sequence[Message]
    ) -> dict[str, ToolSpec]:
        """The tools that the conversation is about, the likeliest first; all of them where the client chose. Blocks."""
        is_choice = request.client_tools is not None or request.only_tools is not None
        limit = 0 if is_choice else self._limit
        shown = self._retriever.shortlist(offered, recent_words(messages), limit=limit, keep=called_tools(messages))
        return {spec.name: spec for spec in shown}

    async def unchanged(self, digests: Mapping[str, str]) -> dict[str, ToolSpec]:
        """Of the tools that a turn began with those that are what they were. Args: digests: name → sha256."""
        registered = await asyncio.to_thread(self._toolbox.list)
        return {spec.name: spec for spec in registered if digests.get(spec.name) == spec.sha256}

    def schema(self, spec: ToolSpec) -> dict[str, Any]:
        """OpenAI's shape of a tool, as a thread checkpoint can hold it: LangGraph keeps integers of 64 bits, so a bound beyond that
        becomes a float."""
        kept = self._schemas.get(spec.sha256)
        if kept is None:
            kept = json.loads(json.dumps(spec.openai()), parse_int=lambda digits: _within_64_bits(int(digits)))
            if len(self._schemas) >= _KEPT_SCHEMAS:
                self._schemas.clear()
            self._schemas[spec.sha256] = kept
        return kept


def _chosen(registered: Sequence[ToolSpec], names: tuple[str, ...] | None) -> Sequence[ToolSpec]:
    """Raises: BadRequest: a name that is not registered."""
    if names is None:
        return registered
    known = {spec.name: spec for spec in registered}
    for name in names:
        if name not in known:
            raise BadRequest(
                f"metadata.tools: no tool named {name!r}; GET /v1/tools lists them", param="metadata.tools"
            )
    return [known[name] for name in names]


def _within_64_bits(number: int) -> int | float:
    return number if abs(number) < 2**63 else float(number)
