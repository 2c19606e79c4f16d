"""Plays visits through the official `openai` client, as the users would: ask, answer questions, object when it went wrong.

A user here knows what is wanted and nothing else: it sees the replies, not the truth about the policy's insides, and gives up
after a few turns.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from openai import APIError, AsyncOpenAI

from hone.demo.traffic import Visit

MAX_TURNS = 3


@dataclass
class Played:
    """What the traffic came to."""

    visits: int = 0
    turns: int = 0
    errors: list[str] = field(default_factory=list)
    """Requests that failed; none is expected."""
    decisions: Counter[str] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)
    satisfied: int = 0
    """Visits that ended as the user wished: the call was made, or the request was rightly refused."""
    first_time: int = 0
    """Satisfied without asking needlessly, objecting or repeating."""


async def play(
    client: AsyncOpenAI,
    visits: Sequence[Visit],
    *,
    concurrency: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Played:
    played = Played()
    slots = asyncio.Semaphore(concurrency)

    async def one(visit: Visit) -> None:
        async with slots:
            await _visit(client, visit, played)
        played.visits += 1
        if progress:
            progress(played.visits, len(visits))

    await asyncio.gather(*(one(v) for v in visits))
    return played


async def _visit(client: AsyncOpenAI, visit: Visit, played: Played) -> None:
    conversation: list[dict[str, Any]] = [{"role": "user", "content": visit.opening}]
    for turn in range(MAX_TURNS):
        try:
            reply = await client.chat.completions.create(
                model="hone",
                messages=cast(Any, conversation),
                max_tokens=96,
                metadata={"tools": ",".join(visit.shown)},
            )
        except APIError as e:
            played.errors.append(f"{visit.id}: {e}")
            return
        told = reply.model_extra["hone"] if reply.model_extra else {}
        played.turns += 1
        steps = told.get("steps") or [{"decision": "none"}]
        played.decisions[steps[0]["decision"]] += 1
        played.policies[told.get("policy", "")] += 1
        message = reply.choices[0].message
        conversation.append({"role": "assistant", "content": message.content or message.refusal or ""})
        following = react(visit, told, turn)
        if following is None:
            good = is_satisfied(visit, told)
            played.satisfied += good
            played.first_time += good and turn == (1 if visit.wants == "clarify" else 0)
            return
        conversation.append({"role": "user", "content": following})


def is_satisfied(visit: Visit, told: dict[str, Any]) -> bool:
    if visit.wants == "refuse":
        return told.get("decision") == "refuse"
    return visit_call(visit) in calls_of(told)


def visit_call(visit: Visit) -> tuple[str, dict[str, Any]]:
    assert visit.tool is not None  # only refusals have none
    return visit.tool, visit.arguments


def calls_of(told: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every call that the turn made."""
    return [(call["tool"], call["arguments"]) for step in told.get("steps", ()) for call in step.get("calls", ())]


def react(visit: Visit, told: dict[str, Any], turn: int) -> str | None:
    """What the user says next; None: content, or gives up."""
    if is_satisfied(visit, told) or visit.wants == "refuse" or turn + 1 >= MAX_TURNS:
        return None
    asked = [m["parameter"] for m in told.get("missing", ()) if m["tool"] == visit.tool]
    if told.get("decision") == "clarify" and asked and all(name in visit.replies for name in asked):
        return (
            ", ".join(visit.replies[name] for name in asked)
            if len(asked) == 1
            else ", ".join(f"{n.replace('_', ' ')} {visit.replies[n]}" for n in asked)
        )
    if calls_of(told):
        return f"No, I meant: {visit.restate}"
    return visit.restate
