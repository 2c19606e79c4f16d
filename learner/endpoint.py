"""A decider behind any OpenAI-compatible chat endpoint: hone itself, vLLM, another product.

Each row is one request at temperature 0 with the row's tools as functions, and beside them, unless the endpoint is hone, which has
them itself, the two reserved ones (`ask_user`, `decline`), so that clarify and refuse need no judge. A reply is read in this order:

1. `tool_calls`: the reserved names are clarify and refuse, others execute; read by the parser of serving (`runtime.decision`).
2. `hone`, the field of hone's own replies: decision, missing, category.
3. `message.refusal`: refuse.
4. text: by the parser again, that is calls written as text, then `classify_text` (a refusal phrase: refuse; ends in a question
   mark: clarify; else answer).

Function names that OpenAI's pattern does not allow ("math.factorial") travel with `_` for each odd character and are put back.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAIError
from pydantic import ValidationError

from learner.deciding import Decided, Outcome, Undecided
from learner.row_forms import Fault
from learner.rows import Row
from learner.settings import EvaluationSettings
from runtime.decision import (
    CALL_CLOSE,
    CALL_OPEN,
    Answer,
    Clarify,
    Decision,
    Invalid,
    MissingParameter,
    RefusalCategory,
    Refuse,
    parse_decision,
)
from runtime.errors import PolicyUnavailable
from runtime.prompt import RESERVED_SCHEMAS

HONE = "hone"
_ODD = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_NAME = 64
_TOO_LONG = ("context_length_exceeded", "prompt_too_long", "maximum context length")


class EndpointDecider:
    """Up to `concurrency` requests at a time; each is tried again with growing pauses where that may help (429, 5xx, no answer)."""

    def __init__(
        self, client: AsyncOpenAI, model: str, *, offers_reserved: bool, settings: EvaluationSettings | None = None
    ) -> None:
        """Args: offers_reserved: whether `ask_user` and `decline` are sent with each request."""
        self._client, self._model, self._offers_reserved = client, model, offers_reserved
        self._settings = settings or EvaluationSettings()

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        api_key: str,
        model: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 4,
        settings: EvaluationSettings | None = None,
    ) -> "EndpointDecider":
        """Asks the endpoint what it serves.

        Args:
            url: with `/v1`, or the root of a server that has it.
            model: None: the first that it lists.
            timeout_s: of one try.

        Raises: PolicyUnavailable: it does not answer, or lists no model and none was named.
        """
        base = url.rstrip("/")
        base = base if re.search(r"/v\d+[a-z]*$", base) else f"{base}/v1"
        client = AsyncOpenAI(base_url=base, api_key=api_key, timeout=timeout_s, max_retries=retries)
        try:
            cards = [card async for card in client.models.list()]
        except (OpenAIError, ValueError) as e:
            if model is None or isinstance(e, APIConnectionError):
                await client.close()
                raise PolicyUnavailable(
                    f"{base} does not say which models it serves ({e}): is it the address of an OpenAI-compatible server? "
                    "--model names one where it has no list"
                ) from e
            cards = []
        if model is None and not cards:
            await client.close()
            raise PolicyUnavailable(f"{base} lists no model: name one with --model")
        is_hone = any(card.owned_by == HONE for card in cards)
        return cls(client, model or cards[0].id, offers_reserved=not is_hone, settings=settings)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            "kind": "endpoint",
            "url": str(self._client.base_url),
            "model": self._model,
            "reserved_tools": self._offers_reserved,
        }

    @property
    def model(self) -> str:
        return self._model

    async def close(self) -> None:
        await self._client.close()

    async def decide(self, rows: Sequence[Row]) -> list[Outcome]:
        slots = asyncio.Semaphore(self._settings.concurrency)

        async def one(row: Row) -> Outcome:
            async with slots:
                return await self._decide(row)

        return list(await asyncio.gather(*map(one, rows)))

    async def _decide(self, row: Row) -> Outcome:
        names = wire_names([tool["function"]["name"] for tool in row.tools])
        tools = [_renamed(tool, names) for tool in row.tools]
        if self._offers_reserved:
            tools += RESERVED_SCHEMAS
        request: dict[str, Any] = {"tools": tools} if tools else {}
        try:
            raw = await self._client.chat.completions.with_raw_response.create(
                model=self._model,
                messages=_wire_messages(row.prompt, names),
                temperature=0.0,
                seed=0,
                max_tokens=self._settings.max_tokens,
                **request,
            )
        except APIStatusError as e:
            is_long = e.status_code == 400 and any(mark in f"{e.code} {e.message}" for mark in _TOO_LONG)
            return Undecided(Fault.TOO_LONG if is_long else Fault.FAILED, _short(f"HTTP {e.status_code}: {e}"))
        except OpenAIError as e:
            return Undecided(Fault.FAILED, _short(f"{type(e).__name__}: {e}"))
        try:
            return read_reply(raw.http_response.json(), row, {wire: name for name, wire in names.items()})
        # whatever the body is, if not a chat completion
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as e:
            return Undecided(Fault.FAILED, _short(f"the reply is no chat completion ({type(e).__name__}: {e})"))


def wire_names(names: Sequence[str]) -> dict[str, str]:
    """Name of each tool → the one that it travels under; no two are the same."""
    found: dict[str, str] = {}
    for name in names:
        wire = base = _ODD.sub("_", name)[:_LONGEST_NAME]
        number = 2
        while wire in found.values():
            wire = f"{base[: _LONGEST_NAME - 4]}_{number}"
            number += 1
        found[name] = wire
    return found


def read_reply(body: Mapping[str, Any], row: Row, names: Mapping[str, str]) -> Decided:
    """The decision in the body of a chat completion.

    Args: names: as on the wire → as in the row.

    Raises: KeyError, IndexError, TypeError, AttributeError: it is no chat completion.
    """
    choice = body["choices"][0]
    message, said = choice["message"], body.get("hone")
    cut = choice.get("finish_reason") == "length"
    text = message.get("content") or ""
    calls = [_wire_call(call, names) for call in message.get("tool_calls") or ()]
    decision: Decision | None = None
    if calls:
        text = "".join(f"{CALL_OPEN}{json.dumps(call, ensure_ascii=False)}{CALL_CLOSE}" for call in calls)
    elif isinstance(said, Mapping):
        decision = _as_hone_says(said, text or message.get("refusal") or "", names)
    elif message.get("refusal"):
        text = message["refusal"]
        decision = Refuse(reason=text)
    if decision is None:
        shown = [tool["function"]["name"] for tool in row.tools]
        decision = parse_decision(text, shown, after_tool_result=row.prompt[-1].get("role") == "tool")
    return Decided(decision, text or message.get("refusal") or "", truncated=cut, confidence=_confidence(said))


def _confidence(said: Any) -> float | None:
    """None where a reply tells none, or something that is no probability."""
    told = said.get("confidence") if isinstance(said, Mapping) else None
    if isinstance(told, bool) or not isinstance(told, (int, float)):
        return None
    return float(told) if 0 <= told <= 1 else None


def _as_hone_says(said: Mapping[str, Any], text: str, names: Mapping[str, str]) -> Decision | None:
    try:
        match said.get("decision"):
            case "clarify":
                parts = [{**part, "tool": names.get(part["tool"], part["tool"])} for part in said.get("missing", ())]
                return Clarify(question=text, missing=tuple(map(MissingParameter.model_validate, parts)))
            case "refuse":
                return Refuse(reason=text, category=said.get("category") or RefusalCategory.OUT_OF_SCOPE)
            case "answer" if text.strip():
                return Answer(text=text)
            case "invalid":
                return Invalid(raw=text, error="hone could not read what its policy wrote")
    except (ValidationError, KeyError) as e:
        return Invalid(raw=text, error=f"the hone field cannot be read: {e}")
    return None


def _wire_call(call: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    function = call["function"]
    return {"name": names.get(function["name"], function["name"]), "arguments": function.get("arguments") or "{}"}


def _renamed(tool: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {"type": "function", "function": {**tool["function"], "name": names[tool["function"]["name"]]}}


def _wire_messages(prompt: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Any:
    """With arguments as texts, and an id for each call that the result after it names."""
    wire: list[dict[str, Any]] = []
    open_ids: list[str] = []
    for message in prompt:
        shaped = dict(message)
        if message.get("tool_calls"):
            shaped["tool_calls"] = calls = []
            for number, call in enumerate(message["tool_calls"]):
                called = call["function"]
                call_id = call.get("id") or f"call_{len(wire)}_{number}"
                function = {
                    "name": names.get(called["name"], called["name"]),
                    "arguments": json.dumps(called["arguments"]),
                }
                calls.append({"id": call_id, "type": "function", "function": function})
                open_ids.append(call_id)
        elif message["role"] == "tool":
            first = open_ids.pop(0) if open_ids else "call_0"
            shaped["tool_call_id"] = message.get("tool_call_id") or first
            shaped.pop("name", None)
        wire.append(shaped)
    return wire


def _short(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
