"""What thread checkpoints remember of turns that are over."""

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.types import StateSnapshot

from runtime.agent.graph import AgentGraph
from runtime.agent.messages import Message, Reply
from runtime.agent.threads import PastTurn
from runtime.traces.schema import Trace


def checkpoint_at(thread_id: str, at: str | None = None) -> RunnableConfig:
    """How LangGraph names a thread checkpoint. Args: at: its id; None: the thread's latest."""
    if at is None:
        return {"configurable": {"thread_id": thread_id}}
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", "checkpoint_id": at}}


def checkpoint_id(snapshot: StateSnapshot) -> str | None:
    return (snapshot.config.get("configurable") or {}).get("checkpoint_id")


async def past_turn(graph: AgentGraph, trace: Trace) -> PastTurn | None:
    """A turn and its thread as the turn left it; None: nothing is left of it, as when it failed."""
    async for snapshot in graph.aget_state_history(checkpoint_at(trace.thread_id)):
        values = snapshot.values
        if values.get("trace_id") == trace.id and (values["reply"] is not None or snapshot.interrupts):
            reply = values["reply"]
            return PastTurn(
                thread_id=trace.thread_id,
                system=values["system"],
                messages=values["messages"],
                reply=None if reply is None else Reply.model_validate(reply),
                echo=values.get("echo"),
                dropped=values["dropped"],
            )
    return None


def _is_past(snapshot: StateSnapshot) -> bool:
    """Whether a turn ended there, or waits. One that failed, or is under way, has left nothing to remember."""
    return snapshot.values.get("reply") is not None or bool(snapshot.interrupts)


def remembered_in(graph: AgentGraph) -> Any:
    """What `Threads` asks of the graph: a thread's system text and messages as the last turn left them."""

    async def remembered(thread_id: str) -> tuple[str | None, list[Message]]:
        thread = checkpoint_at(thread_id)
        snapshot = await graph.aget_state(thread)
        if snapshot.values and not _is_past(snapshot):
            async for snapshot in graph.aget_state_history(thread):
                if _is_past(snapshot):
                    break
            else:
                return None, []
        return snapshot.values.get("system"), list(snapshot.values.get("messages", ()))

    return remembered
