"""The agent graph: decide → execute → decide ..., until there is a reply.

START ─▶ resume ─▶ decide ──▶ END (a reply)
  │        │       ▲ │  ▲
  │        ▼       │ │  └──── decide (a faulty output, shown once)
  │       END      │ ├─────────▶ execute or act ──▶ END (limit, or a tool asks the user)
  │                │ └▶ approve ─▶ │
  └────────────────┴───────────────┘

`resume` is where a turn begins whose user answers what a tool asked. Deciding is one node, sampling and checking, since each node
costs a turn a millisecond. `approve` is where a turn may wait for a person, once for each call that needs it, for as long as it
takes. `act` is `execute` for calls that do not merely read. The graph stops before it, so that a thread checkpoint holds the
decision: whatever dies from there on, the turn goes on with these very calls and not with others that might come to mind. Its
caller lets it go on at once. A turn that only reads is kept at its end alone: begun anew, it changes nothing twice.
"""

from typing import Any, Literal, TypeAlias

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from runtime.agent.messages import open_question
from runtime.agent.nodes import Nodes
from runtime.agent.state import AgentState, Limits, TurnContext, next_ask

ACT: Literal["act"] = "act"

AgentGraph: TypeAlias = CompiledStateGraph[AgentState, TurnContext, AgentState, AgentState]


def build_graph(nodes: Nodes, checkpointer: BaseCheckpointSaver[Any] | None = None) -> AgentGraph:
    graph = StateGraph(AgentState, context_schema=TurnContext)
    graph.add_node("resume", nodes.resume)
    graph.add_node("decide", nodes.decide)
    graph.add_node("approve", nodes.approve)
    graph.add_node("execute", nodes.execute)
    graph.add_node(ACT, nodes.execute)
    graph.add_conditional_edges(START, begin, ["resume", "decide"])
    graph.add_conditional_edges("resume", after_execute, ["decide", END])
    graph.add_conditional_edges("decide", after_decide, ["decide", "approve", "execute", ACT, END])
    graph.add_conditional_edges("approve", after_approve, ["approve", "execute", ACT])
    graph.add_conditional_edges("execute", after_execute, ["decide", END])
    graph.add_conditional_edges(ACT, after_execute, ["decide", END])
    return graph.compile(checkpointer=checkpointer, interrupt_before=[ACT] if checkpointer is not None else None)


def begin(state: AgentState) -> Literal["resume", "decide"]:
    return "decide" if open_question(state["messages"]) is None else "resume"


def after_decide(state: AgentState) -> Literal["decide", "approve", "execute", "act", "__end__"]:
    if state["reply"] is not None:
        return "__end__"
    return "decide" if state["repair"] else after_approve(state)


def after_approve(state: AgentState) -> Literal["approve", "execute", "act"]:
    if next_ask(state) is not None:
        return "approve"
    return ACT if state.get("acts", True) else "execute"  # one that an older version left waiting does not say


def after_execute(state: AgentState) -> Literal["decide", "__end__"]:
    return "decide" if state["reply"] is None else "__end__"


def most_node_runs(limits: Limits) -> int:
    """Bound for LangGraph's own recursion limit, above what our limits allow: three nodes a round, one repair, one resumption."""
    return 3 * (limits.max_steps + 2) + 5
