"""A turn as those see it who wait for it: its news from the beginning, whenever they come, and its end."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from runtime.agent.messages import Reply
from runtime.decision import Execute
from runtime.traces.schema import Span, Trace


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class TurnResult:
    trace: Trace
    reply: Reply
    dropped: int
    """Oldest messages of the thread that did not fit the policy's context."""

    @property
    def usage(self) -> Usage:
        """Summed over all calls of the policy."""
        spans = self.trace.spans
        return Usage(sum(len(s.prompt_token_ids) for s in spans), sum(len(s.completion_token_ids) for s in spans))


class RunningTurn:
    """A turn, under way or over. Iterating gives each span when it is decided and again when its calls are done; everybody who
    iterates gets all of them."""

    def __init__(
        self, trace_id: str, thread_id: str, adapter: str | None, admission_id: str, created_at: datetime
    ) -> None:
        self.trace_id = trace_id
        self.thread_id = thread_id
        self.adapter = adapter
        self.admission_id = admission_id
        self.created_at = created_at
        self.may_have_acted = False
        """Whether a call may have been made, so that the same request sent again might make it twice."""
        self.is_calling = False
        """Whether calls may be under way right now."""
        self.is_paid = False
        """Whether whoever began it answers for its tokens; a repetition costs none."""
        self.waiting = 0
        """Clients that wait for it here."""
        self.stop: Exception | None = None
        """Why it is to end before its time."""
        self._news: list[Span] = []
        self._more = asyncio.Event()
        self._done: asyncio.Future[TurnResult] = asyncio.get_running_loop().create_future()
        # a turn whose client is gone has nobody to retrieve its failure; the trace has it
        self._done.add_done_callback(lambda done: done.exception() if not done.cancelled() else None)

    def __aiter__(self) -> AsyncIterator[Span]:
        return self._spans()

    async def _spans(self) -> AsyncIterator[Span]:
        told = 0
        while True:
            while told < len(self._news):
                told += 1
                yield self._news[told - 1]
            if self._done.done():
                return
            await self._more.wait()

    async def result(self) -> TurnResult:
        """Waits for the end. Raises: what the turn failed with."""
        return await asyncio.shield(self._done)

    @property
    def is_over(self) -> bool:
        return self._done.done()

    def tell(self, span: Span) -> None:
        is_call = isinstance(span.decision, Execute) and not span.violations
        self.may_have_acted |= is_call
        self.is_calling = is_call and not span.outcomes
        self._news.append(span)
        self._wake()

    def tell_all(self, trace: Trace) -> None:
        """As if it had run here."""
        for span in trace.spans:
            if span.outcomes and not span.violations:
                self.tell(span.model_copy(update={"outcomes": ()}))
            self.tell(span)

    def finish(self, outcome: TurnResult | BaseException) -> None:
        if isinstance(outcome, BaseException):
            self._done.set_exception(outcome)
        else:
            self._done.set_result(outcome)
        self._wake()

    def _wake(self) -> None:
        """Everybody who waits for more; those who come later wait for the next."""
        self._more.set()
        self._more = asyncio.Event()
