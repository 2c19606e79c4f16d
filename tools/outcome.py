"""What one tool call came to, and how a backend says that it did not work.

A `CallFault` stays inside `tools`: backends and built-in functions raise it, `tools.execution.Executor` turns it into a
`CallResult` that the policy is shown.
"""

import json
from dataclasses import dataclass

from tools.question import Question
from tools.spec import CallStatus

NO_CONTENT = "(no content)"
"""The result of a call that worked and had nothing to say."""
MAX_MESSAGE_CHARS = 600
"""An error is a lesson of a few sentences, not a page."""


@dataclass(frozen=True, slots=True)
class CallResult:
    status: CallStatus
    content: str
    """What the policy is shown: the tool's result as text, or `error_text`."""
    latency_ms: float
    question: Question | None = None
    """What the tool waits to know, where the status is `input_required`."""


class CallFault(Exception):
    """One call did not work; the message is for the policy: it names the value and what to do instead."""

    def __init__(
        self,
        status: CallStatus,
        message: str,
        *,
        question: Question | None = None,
        transient: bool = False,
        retry_after_s: float | None = None,
        may_have_run: bool = False,
    ) -> None:
        """
        Args:
            question: what the tool waits to know, where the status is `input_required`.
            transient: the same call may work in a moment.
            retry_after_s: how long the service asks to be left alone first.
            may_have_run: the request was sent, and nothing that came back says whether the tool did its work.
        """
        super().__init__(message)
        self.status = status
        self.question = question
        self.transient = transient
        self.retry_after_s = retry_after_s
        self.may_have_run = may_have_run

    def reworded(self, message: str) -> "CallFault":
        return CallFault(
            self.status,
            message,
            question=self.question,
            transient=self.transient,
            retry_after_s=self.retry_after_s,
            may_have_run=self.may_have_run,
        )


def refusal(message: str) -> CallFault:
    """The tool understood the call and does not accept the arguments: other ones may work."""
    return CallFault(CallStatus.REJECTED, message)


def failure(
    message: str, *, transient: bool = False, retry_after_s: float | None = None, may_have_run: bool = False
) -> CallFault:
    """The tool broke: no argument is at fault. Args: as `CallFault`."""
    return CallFault(
        CallStatus.FAILED, message, transient=transient, retry_after_s=retry_after_s, may_have_run=may_have_run
    )


def unknown_effect(name: str) -> str:
    """What the policy is to make of a write whose end was not learnt."""
    return f"whether {name} did its work is not known: do not call it again for this; a person will look into it"


def unconfirmed(name: str) -> str:
    """What the policy is to make of a call whose check did not hold."""
    return f"{name} said that it worked, and its check afterwards says otherwise: tell the user so and do not repeat it"


def error_text(status: CallStatus, message: str) -> str:
    """The one form in which the policy is shown an error."""
    return json.dumps({"error": status.value, "message": shorten(message)}, ensure_ascii=False)


def shorten(text: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """White space folded, the middle of the rest kept out when it is too long."""
    folded = " ".join(text.split())
    if len(folded) <= limit:
        return folded
    half = (limit - 5) // 2
    return f"{folded[:half]} ... {folded[-half:]}"


def storable(text: str) -> str:
    """Text that encodes as UTF-8 and that every database takes: lone surrogates and NUL are replaced."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")
