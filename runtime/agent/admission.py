"""The rows of turns under way: each is written before its turn does anything, and closed in one transaction with what came of it.

A row does four things. It keeps what it takes to begin or go on, so that a turn outlives its server. It holds the thread, for one
turn at a time, whatever the process. It is what a client's repetition of a request is recognised by, and answered from. And it
names the process whose turn it is: when that one is gone, another takes the turn over, by one conditional UPDATE.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from runtime.agent.tables import admissions, thread_heads
from runtime.database import Clock, reading, together, upsert, utc_now, writing
from runtime.errors import KeyReused, TurnTaken
from tools.tenancy import fixed

KEY_LIFE = timedelta(hours=24)
"""From a turn's end on; services commonly keep keys as long."""
RETRY_WINDOW = timedelta(minutes=15)
"""How long after a turn's end a repetition without a key is taken for one. OpenAI's clients wait 10 minutes for an answer that got
lost on its way, and then up to 8 s before they try again."""

_c = admissions.c


class State(StrEnum):
    RUNNING = "running"
    FINISHED = "finished"
    WAITING = "waiting"
    """It ended with a question to a person; what follows the answer is another row."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells a request from others and a repetition from a first attempt."""

    caller: str = ""
    """Who sends it; what others send is never its repetition."""
    body_sha256: str | None = None
    """Of all that decides the answer."""
    key: str | None = None
    """Given by the client."""
    attempt: int | None = None
    """0-based, as the client counts; None: it does not."""


@dataclass(frozen=True, slots=True)
class Admission:
    """One row."""

    id: str
    tenant: str
    user: str | None
    trace_id: str
    thread_id: str
    approval_id: str | None
    state: State
    owner: str
    runs: int
    stop: bool
    plan: Mapping[str, Any] | None
    body_sha256: str | None
    acted: bool
    reply: Mapping[str, Any] | None
    dropped: int
    error: Mapping[str, str] | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Ending:
    """What came of a run."""

    state: State
    acted: bool
    reply: Mapping[str, Any] | None = None
    dropped: int = 0
    error: Mapping[str, str] | None = None
    """`kind`, `message`."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a turn was not admitted."""

    is_busy: bool
    """A turn runs in the thread. Else: the thread has gone on since it was read."""
    earlier: Admission | None = None
    """The request is a repetition, and this is its turn."""


_FIELDS = tuple(Admission.__dataclass_fields__)
_COLUMNS = [_c[name] for name in _FIELDS]
_IS_MINE = sa.and_(
    _c.id == sa.bindparam("its_id"),
    _c.owner == sa.bindparam("its_owner"),
    _c.runs == sa.bindparam("its_runs"),
    _c.state == State.RUNNING.value,
)
_UPDATE_MINE = fixed(sa.update(admissions).where(_IS_MINE))
_FIND_MINE = fixed(sa.select(_c.id).where(_IS_MINE).with_for_update())
_LAST_HEAD = fixed(sa.select(sa.func.max(thread_heads.c.seq)).where(thread_heads.c.thread_id == sa.bindparam("thread")))


class Admissions:
    """Admissions in a database that `runtime.database.open_database` opened."""

    def __init__(self, engine: Engine, owner: str, *, clock: Clock = utc_now) -> None:
        """Args: owner: this process's name (`tools.presence`)."""
        self._engine = engine
        self._owner = owner
        self._clock = clock
        self._insert = fixed(upsert(engine, admissions).on_conflict_do_nothing().returning(*_COLUMNS))

    @contextmanager
    def together(self) -> Iterator[Connection]:
        """What is written within is one transaction, whichever store writes it."""
        with together(self._engine) as connection:
            yield connection

    def find(self, mark: Mark) -> Admission | None:
        """The turn that a request is a repetition of.

        Raises: KeyReused: the key came with another body.
        """
        if mark.key is None and not mark.attempt:
            return None
        with reading(self._engine) as connection:
            return self._find(connection, mark)

    def admit(
        self,
        *,
        admission_id: str,
        trace_id: str,
        thread_id: str,
        mark: Mark,
        plan: Mapping[str, Any] | None,
        last_head: int | None,
        approval_id: str | None = None,
    ) -> Admission | Refused:
        """Writes the row, unless the thread is held or has gone on, or the request was admitted before.

        Args:
            last_head: `seq` of the thread's last head when it was read; None: it had none.
            plan: JSON data.

        Raises: KeyReused.
        """
        row = {
            "id": admission_id,
            "trace_id": trace_id,
            "thread_id": thread_id,
            "approval_id": approval_id,
            "state": State.RUNNING.value,
            "owner": self._owner,
            "runs": 1,
            "stop": False,
            "plan": plan,
            "caller": mark.caller,
            "key": mark.key,
            "body_sha256": mark.body_sha256,
            "counts_attempts": mark.attempt is not None,
            "acted": False,
            "dropped": 0,
            "created_at": self._clock(),
        }
        with writing(self._engine) as connection:
            # A retry may overtake its first attempt: what is looked for here is looked for under the lock of the insert.
            earlier = self._find(connection, mark) if mark.key is not None or mark.attempt else None
            if earlier is not None:
                return Refused(is_busy=False, earlier=earlier)
            self._drop_old_key(connection, mark)
            admitted = connection.execute(self._insert, row).one_or_none()
            if admitted is None:
                return Refused(is_busy=True, earlier=self._find(connection, mark) if mark.key is not None else None)
            if connection.scalar(_LAST_HEAD, {"thread": thread_id}) != last_head:
                connection.execute(sa.delete(admissions).where(_c.id == admission_id))
                return Refused(is_busy=False)
            return _admission(admitted)

    def close(self, admission: Admission, ending: Ending) -> None:
        """Closes the row and lets the thread go. A turn that failed before it can have acted gives its key back: sent again, the
        request is run anew.

        Raises: TurnTaken: another process has taken the turn over; nothing was changed.
        """
        values: dict[str, Any] = {
            "state": ending.state.value,
            "acted": ending.acted,
            "reply": ending.reply,
            "dropped": ending.dropped,
            "error": ending.error,
            "plan": None,
            "ended_at": self._clock(),
        }
        if ending.state is State.FAILED and not ending.acted:
            values |= {"key": None, "counts_attempts": False}
        with writing(self._engine) as connection:
            if not connection.execute(_UPDATE_MINE, self._mine(admission) | values).rowcount:
                raise TurnTaken(f"the turn {admission.trace_id} belongs to another server by now")

    def check_mine(self, admission: Admission) -> None:
        """Nobody takes the turn over before the caller's transaction has ended. Raises: TurnTaken."""
        with writing(self._engine) as connection:
            if connection.scalar(_FIND_MINE, self._mine(admission)) is None:
                raise TurnTaken(f"the turn {admission.trace_id} belongs to another server by now")

    def take_over(self, admission: Admission) -> Admission | None:
        """Makes a turn whose process is gone this process's. None: another was faster, or it had ended."""
        is_same = (_c.id == admission.id) & (_c.owner == admission.owner) & (_c.runs == admission.runs)
        mine = {"owner": self._owner, "runs": admission.runs + 1}
        with writing(self._engine) as connection:
            taken = connection.execute(
                sa.update(admissions).where(is_same, _c.state == State.RUNNING.value).values(mine)
            )
            return _get(connection, admission.id) if taken.rowcount else None

    def get(self, admission_id: str) -> Admission | None:
        """None: it was erased or swept."""
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(admissions).where(_c.id == admission_id)).one_or_none()
        return None if row is None else _admission(row)

    def running(self) -> list[Admission]:
        """All that run, of whatever process, oldest first; their plans, which may be long, are left out."""
        # the state as text and no parameter: only so may the partial index answer
        short = [admissions.c[name] for name in _FIELDS if name != "plan"]
        query = sa.select(*short, sa.null().label("plan")).where(sa.text("state = 'running'")).order_by(_c.created_at)
        with reading(self._engine) as connection:
            return [_admission(row) for row in connection.execute(query)]

    def is_running(self, thread_id: str) -> bool:
        """Whether a turn runs in the thread, here or elsewhere."""
        query = sa.select(_c.id).where(sa.text("state = 'running'"), _c.thread_id == thread_id)
        with reading(self._engine) as connection:
            return connection.execute(query).first() is not None

    def ask_to_stop(self, thread_id: str) -> None:
        """Wants the turn that runs in the thread to end; its process sees it soon."""
        is_it = sa.and_(_c.thread_id == thread_id, _c.state == State.RUNNING.value)
        with writing(self._engine) as connection:
            connection.execute(sa.update(admissions).where(is_it).values(stop=True))

    def sweep(self) -> int:
        """Forgets turns that ended longer ago than keys are kept, and says how many."""
        is_old = sa.and_(_c.state != State.RUNNING.value, _c.ended_at < self._clock() - KEY_LIFE)
        with writing(self._engine) as connection:
            return connection.execute(sa.delete(admissions).where(is_old)).rowcount

    def _find(self, connection: Connection, mark: Mark) -> Admission | None:
        now = self._clock()
        query = sa.select(admissions).where(_c.caller == mark.caller)
        if mark.key is not None:
            query = query.where(_c.key == mark.key, sa.or_(_c.ended_at.is_(None), _c.ended_at >= now - KEY_LIFE))
        else:
            query = query.where(
                _c.body_sha256 == mark.body_sha256,
                _c.key.is_(None),
                _c.counts_attempts,
                sa.or_(_c.ended_at.is_(None), _c.ended_at >= now - RETRY_WINDOW),
            )
        row = connection.execute(query.order_by(_c.created_at.desc(), _c.id).limit(1)).one_or_none()
        if row is None:
            return None
        if row.body_sha256 != mark.body_sha256:
            raise KeyReused(
                f"the idempotency key {mark.key!r} came before with another body (turn {row.trace_id}): "
                "send the same body, or another key"
            )
        return _admission(row)

    def _drop_old_key(self, connection: Connection, mark: Mark) -> None:
        """One that has run out may name another request."""
        if mark.key is not None:
            is_it = sa.and_(_c.caller == mark.caller, _c.key == mark.key, _c.ended_at < self._clock() - KEY_LIFE)
            connection.execute(sa.update(admissions).where(is_it).values(key=None))

    def _mine(self, admission: Admission) -> dict[str, Any]:
        """Parameters of `_IS_MINE`."""
        return {"its_id": admission.id, "its_owner": self._owner, "its_runs": admission.runs}


def is_held(connection: Connection, thread_id: str) -> bool:
    """Whether a turn runs in the thread."""
    query = sa.select(_c.id).where(_c.thread_id == thread_id, _c.state == State.RUNNING.value)
    return connection.execute(query).first() is not None


def remove_admissions(connection: Connection, thread_id: str) -> None:
    """Within the caller's transaction, all that is kept here of a thread."""
    connection.execute(sa.delete(admissions).where(_c.thread_id == thread_id))


def _get(connection: Connection, admission_id: str) -> Admission:
    return _admission(connection.execute(sa.select(admissions).where(_c.id == admission_id)).one())


def _admission(row: sa.Row[Any]) -> Admission:
    fields: dict[str, Any] = {name: getattr(row, name) for name in _FIELDS}
    fields["state"] = State(row.state)
    return Admission(**fields)
