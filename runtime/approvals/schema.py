"""What is kept of a call that waits for a person: what was shown, what a yes is bound to, and what became of it."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from tools.tenancy import DEFAULT


class Why(StrEnum):
    """Why a call waits for a person."""

    WRITES = "writes"
    """It changes the world at each run, and developer and operator have not both waived approval."""
    ALWAYS = "always"
    """The tool's developer wants each call approved."""
    UNTRUSTED = "untrusted"
    """It changes the world, and the thread holds output of a tool that is not trusted."""
    UNSURE = "unsure"
    """The policy was less sure of it than the operator asks for, whatever the tool does."""


class ApprovalState(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    DECLINED = "declined"
    EXPIRED = "expired"
    """Nobody said anything in time."""


class Verdict(StrEnum):
    """A person's word."""

    APPROVE = "approve"
    DECLINE = "decline"

    @property
    def state(self) -> ApprovalState:
        return ApprovalState.APPROVED if self is Verdict.APPROVE else ApprovalState.DECLINED


class Use(StrEnum):
    """What came of using an approval for a call."""

    GRANTED = "granted"
    """It holds for this very call, and is used up now."""
    EXPIRED = "expired"
    SPENT = "spent"
    """A call began with it before."""
    MISMATCH = "mismatch"
    """It is another thread's, another call's, for other arguments or another version of the tool, or it never was."""


class Ask(BaseModel):
    """One call that waits, as the thread checkpoint holds it."""

    model_config = ConfigDict(frozen=True)

    call_id: str
    tool: str
    tool_sha256: str
    """Digest of the tool's whole definition."""
    arguments: dict[str, Any]
    digest: str
    """Of thread, call, tool version and arguments (`runtime.agent.consent.call_digest`)."""
    why: Why


class Approval(BaseModel):
    """One question to a person and its answer."""

    model_config = ConfigDict(frozen=True)

    id: str
    tenant: str = DEFAULT
    user: str | None = None
    """Whose turn asks; None: nobody in particular."""
    thread_id: str
    trace_id: str
    checkpoint_id: str
    """The thread checkpoint in which the turn waits."""
    length: int
    """Messages of the thread at that point."""
    ask: Ask
    created_at: datetime
    expires_at: datetime
    state: ApprovalState
    decided_at: datetime | None = None
    decided_via: str | None = None
    """`chat`, `http` or `command line`; None: nobody decided."""
    used_at: datetime | None = None
    """When the approved call began: it never begins again."""
    settled_at: datetime | None = None
    """When the turn had gone on, to its end or to its next question."""
