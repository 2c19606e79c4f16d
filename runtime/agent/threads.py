"""Which thread a turn belongs to, and what the policy remembers of it.

A client may name its thread. One that does not, and sends the whole conversation each time, is recognised by it: after
each turn the digest of what the client has seen is kept as a *head* of the thread. Heads are written when a turn is
over, so a turn that failed half-way leaves nothing behind.
"""

import asyncio
import contextlib
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from runtime.agent.messages import EMPTY_DIGEST, Message, Reply, extend_digest, reply_message, split_system
from runtime.agent.tables import thread_heads
from runtime.database import reading, utc_now, writing
from runtime.decision import DecisionKind
from runtime.errors import ThreadBusy
from tools.tenancy import DEFAULT, caller, fixed


@dataclass(frozen=True, slots=True)
class Head:
    """A point that a thread reached."""

    thread_id: str
    digest: str
    length: int
    is_last: bool
    """False: the thread has gone on since."""
    seq: int
    """Order in which heads were written."""


def _heads(column: sa.ColumnElement[Any]) -> sa.Select[*tuple[Any, ...]]:
    """The heads whose column is `wanted`."""
    c, later = thread_heads.c, thread_heads.alias()
    longest = sa.select(sa.func.max(later.c.length)).where(later.c.thread_id == c.thread_id).scalar_subquery()
    query = sa.select(c.thread_id, c.digest, c.length, c.length == longest, c.seq)
    return fixed(query.where(column == sa.bindparam("wanted")).order_by(c.seq.desc()).limit(50))


_BY_DIGEST, _BY_THREAD = _heads(thread_heads.c.digest), _heads(thread_heads.c.thread_id)
_FORGET_BRANCH = fixed(
    sa.delete(thread_heads).where(
        thread_heads.c.thread_id == sa.bindparam("thread"), thread_heads.c.length > sa.bindparam("begin")
    )
)
_ADD_HEADS = fixed(sa.insert(thread_heads))


class HeadStore:
    """The heads of all threads."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._now = now

    def find(self, digest: str) -> list[Head]:
        """Heads at which a client saw this conversation, newest first."""
        return self._select(_BY_DIGEST, digest)

    def of_thread(self, thread_id: str) -> list[Head]:
        """Newest first."""
        return self._select(_BY_THREAD, thread_id)

    def _select(self, query: sa.Select[*tuple[Any, ...]], wanted: str) -> list[Head]:
        with reading(self._engine) as connection:
            found = connection.execute(query, {"wanted": wanted})
            return [Head(thread, digest, length, bool(is_last), seq) for thread, digest, length, is_last, seq in found]

    def advance(self, thread_id: str, begin: int, length: int, digests: Sequence[str]) -> None:
        """The thread went on from `begin` messages to `length`; heads of a branch left behind are forgotten."""
        row = {"thread_id": thread_id, "length": length, "created_at": self._now()}
        with writing(self._engine) as connection:
            connection.execute(_FORGET_BRANCH, {"thread": thread_id, "begin": begin})
            connection.execute(_ADD_HEADS, [{**row, "digest": digest} for digest in digests])


@dataclass(frozen=True, slots=True)
class OpenThread:
    """A thread held for one turn."""

    thread_id: str
    system: str | None
    messages: list[Message]
    """The conversation up to and with the new messages, as the policy sees it."""
    begin: int
    """How many of them were there before."""
    digest: str
    """Of what the client has seen, the new messages included."""
    lock: asyncio.Lock = field(repr=False)
    last_head: int | None = None
    """`seq` of the thread's newest head when it was read; None: it had none."""
    is_silent: bool = False
    """The client has said nothing, so it may never see the reply."""

    @property
    def known(self) -> list[Message]:
        return self.messages[: self.begin]

    @property
    def new(self) -> list[Message]:
        return self.messages[self.begin :]

    def kept(self) -> dict[str, Any]:
        """What `Threads.reopen` needs, as JSON data."""
        return {
            "system": self.system,
            "messages": self.new,
            "begin": self.begin,
            "digest": self.digest,
            "is_silent": self.is_silent,
        }


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A thread as one of its turns left it."""

    thread_id: str
    system: str | None
    messages: list[Message]
    reply: Reply | None
    """None: the turn waits for a person."""
    echo: str | None
    """As in `runtime.agent.state.AgentState`."""
    dropped: int


@dataclass(frozen=True, slots=True)
class _Past:
    thread_id: str
    lock: asyncio.Lock
    head: Head | None
    new: list[Message]
    """What the request adds to the past."""
    last: int | None
    """`seq` of the thread's newest head."""


class Threads:
    """Opens and closes threads; one turn at a time runs in each.

    Args:
        heads: where heads are kept.
        remembered: gives the system text and the messages of a thread as its last turn left them.
        is_held: whether a turn runs in a thread, in whatever process.
    """

    def __init__(
        self,
        heads: HeadStore,
        remembered: Callable[[str], Awaitable[tuple[str | None, list[Message]]]],
        *,
        is_held: Callable[[str], bool] = lambda thread_id: False,
    ) -> None:
        self._heads = heads
        self._remembered = remembered
        self._is_held = is_held
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def open(self, messages: Sequence[Message], thread_id: str | None) -> OpenThread:
        """Finds or makes the thread of a request and holds it; `close` must follow. Args: thread_id: as the client names it."""
        past = await (self._recognise(messages) if thread_id is None else self._named(messages, own_thread(thread_id)))
        try:
            return await self._continue(past, messages)
        except BaseException:
            past.lock.release()
            raise

    async def follow(self, past: PastTurn, messages: Sequence[Message]) -> OpenThread:
        """Holds the thread of a past turn, `messages` being new; where it has gone on since, a new thread that begins as
        a copy of what it was then. `close` must follow."""
        system, told = split_system(messages)
        lock = self._lock(past.thread_id)
        await lock.acquire()
        try:
            heads = await asyncio.to_thread(self._heads.of_thread, past.thread_id)
            _, known = await self._remembered(past.thread_id)
        except BaseException:
            lock.release()
            raise
        conversation = [*past.messages, *told]
        head = heads[0] if heads else None
        if head is not None and head.length == len(past.messages) and known[: head.length] == past.messages:
            digest = extend_digest(head.digest, told)
            return OpenThread(past.thread_id, system or past.system, conversation, head.length, digest, lock, head.seq)
        lock.release()
        fresh = new_thread_id()
        lock = self._lock(fresh)
        await lock.acquire()
        # no client has the whole of this conversation to send it again, so its digest is like no other
        return OpenThread(fresh, system or past.system, conversation, 0, extend_digest(fresh, told), lock)

    async def hold(self, thread_id: str) -> OpenThread:
        """The thread as it stands, held for a turn that goes on without a word from the client; `close` must follow."""
        lock = self._lock(thread_id)
        await lock.acquire()
        try:
            heads = await asyncio.to_thread(self._heads.of_thread, thread_id)
            opened = await self._continue(_Past(thread_id, lock, heads[0] if heads else None, [], _last(heads)), [])
            return replace(opened, is_silent=True)
        except BaseException:
            lock.release()
            raise

    async def reopen(self, thread_id: str, kept: Mapping[str, Any]) -> OpenThread:
        """The thread as it was opened for a turn that is on record as running in it, held again; `close` must follow.

        Args: kept: what `OpenThread.kept` gave.
        """
        lock = self._lock(thread_id)
        await lock.acquire()
        try:
            _, known = await self._remembered(thread_id)
        except BaseException:
            lock.release()
            raise
        begin = kept["begin"]
        return OpenThread(
            thread_id=thread_id,
            system=kept["system"],
            messages=[*known[:begin], *kept["messages"]],
            begin=begin,
            digest=kept["digest"],
            lock=lock,
            is_silent=kept["is_silent"],
        )

    def is_busy(self, thread_id: str) -> bool:
        """Whether somebody holds the thread in this process."""
        lock = self._locks.get(thread_id)
        return lock is not None and lock.locked()

    @contextlib.asynccontextmanager
    async def alone(self, thread_id: str) -> AsyncIterator[None]:
        """The thread held, without a turn. Raises: ThreadBusy: one runs in it."""
        lock = self._lock(thread_id)
        if lock.locked() or await asyncio.to_thread(self._is_held, thread_id):
            raise ThreadBusy(f"a turn of thread {thread_id!r} is running; try again when it has ended")
        async with lock:
            yield

    def advance(self, thread: OpenThread, reply: Reply, length: int) -> None:
        """The turn becomes the thread's past. Synchronous: the caller makes it part of a transaction.

        Args: length: messages of the thread by now.
        """
        seen = [extend_digest(thread.digest, [reply_message(reply)])]
        if thread.is_silent:
            seen.insert(0, thread.digest)
        if reply.decision is DecisionKind.REFUSE:
            # OpenAI's shape has a refusal beside an empty content, and many clients send back the content alone
            seen.append(extend_digest(thread.digest, [{"role": "assistant", "content": ""}]))
        self._heads.advance(thread.thread_id, thread.begin, length, seen)

    def close(self, thread: OpenThread) -> None:
        """Lets the thread go."""
        thread.lock.release()

    async def _continue(self, past: _Past, messages: Sequence[Message]) -> OpenThread:
        system, told = split_system(messages)
        if past.head is None:
            digest = extend_digest(EMPTY_DIGEST, messages)
            return OpenThread(past.thread_id, system, told, 0, digest, past.lock, past.last)
        known_system, known = await self._remembered(past.head.thread_id)
        return OpenThread(
            thread_id=past.thread_id,
            system=system or known_system,
            messages=[*known[: past.head.length], *past.new],
            # a fork has no heads of its own yet, so all of its messages are new to it
            begin=past.head.length if past.head.thread_id == past.thread_id else 0,
            digest=extend_digest(past.head.digest, past.new),
            lock=past.lock,
            last_head=past.last,
        )

    async def _recognise(self, messages: Sequence[Message]) -> _Past:
        """The free thread whose last word the conversation ends with; else a new thread that begins as a copy of one
        that has gone on or is busy; else a new one."""
        seen, new = _split_seen(messages)
        found: list[Head] = []
        if seen:
            digest = extend_digest(EMPTY_DIGEST, seen)
            found = await asyncio.to_thread(self._heads.find, digest)
            for head in found:
                lock = self._lock(head.thread_id)
                if not head.is_last or lock.locked() or await asyncio.to_thread(self._is_held, head.thread_id):
                    continue
                if lock.locked():  # somebody took it while that was looked up
                    continue
                await lock.acquire()
                last = await self._last_still(head, lock)
                if last is not None:
                    return _Past(head.thread_id, lock, head, new, last)
        fresh = new_thread_id()
        lock = self._lock(fresh)
        await lock.acquire()
        return _Past(fresh, lock, found[0] if found else None, new, None)

    async def _named(self, messages: Sequence[Message], thread_id: str) -> _Past:
        """The named thread. A request with past replies in it is the whole conversation: it goes on from where it
        matches the thread, and replaces it where it does not. One without is only what is new."""
        lock = self._lock(thread_id)
        await lock.acquire()
        try:
            heads = await asyncio.to_thread(self._heads.of_thread, thread_id)
        except BaseException:
            lock.release()
            raise
        seen, new = _split_seen(messages)
        if not seen:
            return _Past(thread_id, lock, heads[0] if heads else None, split_system(messages)[1], _last(heads))
        digest = extend_digest(EMPTY_DIGEST, seen)
        head = next((head for head in heads if head.digest == digest), None)
        return _Past(thread_id, lock, head, new, _last(heads))

    async def _last_still(self, head: Head, lock: asyncio.Lock) -> int | None:
        """`seq` of the thread's newest head, if it ends at `head` still, now that it is held; else None, and it is let go."""
        last: int | None = None
        try:
            heads = await asyncio.to_thread(self._heads.of_thread, head.thread_id)
            # one turn may leave several heads: the same point, as different clients see it
            if any(h.is_last and h.digest == head.digest for h in heads):
                last = _last(heads)
        finally:
            if last is None:
                lock.release()
        return last

    def _lock(self, thread_id: str) -> asyncio.Lock:
        return self._locks.setdefault(thread_id, asyncio.Lock())


def _last(heads: Sequence[Head]) -> int | None:
    """`seq` of the newest of a thread's heads, which come newest first."""
    return heads[0].seq if heads else None


def _split_seen(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The conversation up to our last reply, and what the client adds; no reply: nothing was seen."""
    replies = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    cut = replies[-1] + 1 if replies else 0
    return list(messages[:cut]), list(messages[cut:])


def new_thread_id() -> str:
    return own_thread(f"thread_{uuid.uuid4().hex}")


def own_thread(name: str) -> str:
    """The id of the thread that a client names: names of different tenants, and of users who see their own alone, never meet,
    and an id that was given out leads to its thread for whoever may see it.

    Threads of the default tenant are called as the client calls them, unless that looks like another's.
    """
    who = caller()
    if who is None:
        return name
    own = f"{who.tenant}:"
    if who.is_confined:
        own += f"u{hashlib.sha256((who.user or '').encode()).hexdigest()[:16]}:"
    if name.startswith(own) or (who.tenant == DEFAULT and not who.is_confined and ":" not in name):
        return name
    return own + name
