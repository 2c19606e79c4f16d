"""What a turn is asked for, whichever route it comes from."""

from dataclasses import dataclass
from enum import StrEnum

from runtime.agent.messages import Message
from runtime.agent.threads import PastTurn
from runtime.policy.base import SamplingParams
from tools.spec import ToolSpec

LIVE = "hone"
"""The model name that follows the deployment pointer; `hone@base`, `hone@v12` and `hone@<adapter>` stay where they are."""
INCUMBENT = f"{LIVE}@incumbent"
"""The adapter that serves everyone, whatever else is on trial."""
BASE = f"{LIVE}@base"


class WhenBusy(StrEnum):
    """What becomes of a message to a thread in which a turn runs."""

    QUEUE = "queue"
    """It waits for its turn."""
    REJECT = "reject"
    INTERRUPT = "interrupt"
    """The turn that runs ends first: at once where it has called nothing, else as soon as no call is under way."""


@dataclass(frozen=True, slots=True)
class TurnRequest:
    messages: tuple[Message, ...]
    """OpenAI's shape, arguments of tool calls as objects, content as text; the last one is the user's or a tool's."""
    params: SamplingParams
    model: str = LIVE
    thread: str | None = None
    """Id of the thread; None: recognised by the conversation."""
    after: PastTurn | None = None
    """The turn to go on from, whatever the thread's name; all messages are new then."""
    instructions: str | None = None
    """As in `AgentState`."""
    echo: str | None = None
    """As in `AgentState`."""
    client_tools: tuple[ToolSpec, ...] | None = None
    """The client's own tools, shown instead of the registered ones; None: the registered ones."""
    show_tools: bool = True
    only_tools: tuple[str, ...] | None = None
    """Names of the registered tools to show; None: those that the conversation is about."""
    when_busy: WhenBusy | None = None
    """None: as the server is set."""

    @property
    def named_thread(self) -> str | None:
        """The thread that it is about, whoever else talks in it; None: one that is free, or a new one."""
        return self.thread or (self.after.thread_id if self.after is not None else None)
