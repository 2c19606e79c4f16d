"""The questions to people: asked once, answered once, used once.

Each step is one conditional UPDATE, so that of two that come at the same moment, from whatever process, one counts.
"""

import builtins
import uuid
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from runtime.approvals.schema import Approval, ApprovalState, Ask, Use, Verdict
from runtime.approvals.tables import approvals
from runtime.database import Clock, reading, utc_now, writing
from runtime.errors import ApprovalExpired, ApprovalNotFound, ApprovalSpent
from tools.audit_trail import note
from tools.tenancy import DEFAULT, Caller, caller

_c = approvals.c


class ApprovalStore:
    """Approvals in a database that `runtime.database.open_database` opened."""

    def __init__(self, engine: Engine, *, ttl_s: float = 3600.0, clock: Clock = utc_now) -> None:
        """Args: ttl_s: seconds from the question until a yes no longer counts."""
        self._engine = engine
        self._ttl = timedelta(seconds=ttl_s)
        self._clock = clock

    def ask(self, ask: Ask, *, thread_id: str, trace_id: str, checkpoint_id: str, length: int) -> Approval:
        """A new question, under an id that cannot be guessed; asked again after a crash, it takes the first one's place."""
        now = self._clock()
        who = caller() or Caller(DEFAULT)
        made = Approval(
            id=f"approval_{uuid.uuid4().hex}",
            tenant=who.tenant,
            user=who.user,
            thread_id=thread_id,
            trace_id=trace_id,
            checkpoint_id=checkpoint_id,
            length=length,
            ask=ask,
            created_at=now,
            expires_at=now + self._ttl,
            state=ApprovalState.PENDING,
        )
        row = made.model_dump(mode="python") | {
            "ask": ask.model_dump(mode="json"),
            "digest": ask.digest,
            "state": made.state.value,
        }
        is_same = (_c.digest == ask.digest) & (_c.state == ApprovalState.PENDING.value)
        closed = {"state": ApprovalState.EXPIRED.value, "decided_at": now, "settled_at": now}
        with writing(self._engine) as connection:
            connection.execute(sa.update(approvals).where(is_same).values(closed))
            connection.execute(sa.insert(approvals).values(row))
        return made

    def get(self, approval_id: str) -> Approval:
        """Raises: ApprovalNotFound."""
        with reading(self._engine) as connection:
            return _get(connection, approval_id)

    def list(
        self, *, state: ApprovalState | None = None, thread_id: str | None = None, limit: int = 100
    ) -> builtins.list[Approval]:
        """Newest first; `pending`: those that may still be approved."""
        query = sa.select(approvals).order_by(_c.created_at.desc(), _c.id).limit(limit)
        if state is not None:
            query = query.where(_c.state == state.value)
        if state is ApprovalState.PENDING:
            query = query.where(_c.expires_at > self._clock())
        if thread_id is not None:
            query = query.where(_c.thread_id == thread_id)
        with reading(self._engine) as connection:
            return [_approval(row) for row in connection.execute(query)]

    def count_waiting(self) -> int:
        """How many may still be approved."""
        is_open = (_c.state == ApprovalState.PENDING.value) & _c.settled_at.is_(None) & (_c.expires_at > self._clock())
        with reading(self._engine) as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(approvals).where(is_open)) or 0

    def decide(self, approval_id: str, verdict: Verdict, *, via: str, thread_id: str | None = None) -> Approval:
        """Takes a person's word; it cannot be changed.

        Args:
            thread_id: the thread from which the word comes; None: from somebody who may speak for all.

        Raises:
            ApprovalNotFound: there is none with this id, or it is another thread's.
            ApprovalSpent: somebody decided before.
            ApprovalExpired: too late.
        """
        now = self._clock()
        is_open = sa.and_(_c.id == approval_id, _c.state == ApprovalState.PENDING.value, _c.expires_at > now)
        if thread_id is not None:
            is_open &= _c.thread_id == thread_id
        change = {"state": verdict.state.value, "decided_at": now, "decided_via": via}
        with writing(self._engine) as connection:
            changed = connection.execute(sa.update(approvals).where(is_open).values(change)).rowcount
            found = _get(connection, approval_id)
            if changed:
                note(connection, f"approval.{verdict.state.value}", approval_id, tool=found.ask.tool, way=via)
        if changed:
            return found
        if thread_id not in (None, found.thread_id):
            raise ApprovalNotFound(_unknown(approval_id))
        if found.state in (ApprovalState.APPROVED, ApprovalState.DECLINED):
            raise ApprovalSpent(f"approval {approval_id!r} was {found.state.value} before; it counts once")
        raise ApprovalExpired(
            f"approval {approval_id!r} could be given until {found.expires_at:%Y-%m-%d %H:%M:%S} UTC; ask for the call again"
        )

    def use(self, approval_id: str, *, thread_id: str, digest: str) -> Use:
        """Uses an approval up for the call with this digest, right before the call; no call begins twice, by whatever
        approval."""
        now = self._clock()
        others = approvals.alias()
        has_begun = sa.exists().where(others.c.digest == digest, others.c.used_at.is_not(None))
        holds = (
            (_c.id == approval_id)
            & (_c.state == ApprovalState.APPROVED.value)
            & _c.used_at.is_(None)  # beside the next, which PostgreSQL does not look at again after a wait
            & ~has_begun
            & (_c.expires_at > now)
            & (_c.thread_id == thread_id)
            & (_c.digest == digest)
        )
        with writing(self._engine) as connection:
            if connection.execute(sa.update(approvals).where(holds).values(used_at=now)).rowcount:
                return Use.GRANTED
            row = connection.execute(sa.select(approvals, has_begun).where(_c.id == approval_id)).one_or_none()
        if row is None or (row.thread_id, row.digest) != (thread_id, digest):
            return Use.MISMATCH
        if row[-1]:
            return Use.SPENT
        return Use.EXPIRED if row.expires_at <= now else Use.MISMATCH

    def due(self) -> builtins.list[Approval]:
        """Those whose turn should go on: decided or out of time, and not settled yet. Oldest first."""
        is_due = sa.or_(_c.state != ApprovalState.PENDING.value, _c.expires_at <= self._clock())
        query = sa.select(approvals).where(_c.settled_at.is_(None), is_due).order_by(_c.created_at)
        with reading(self._engine) as connection:
            return [_approval(row) for row in connection.execute(query)]

    def expire(self, approval_id: str) -> Approval:
        """Out of time, if nobody decided: as it stands then. Raises: ApprovalNotFound."""
        now = self._clock()
        is_over = (_c.id == approval_id) & (_c.state == ApprovalState.PENDING.value) & (_c.expires_at <= now)
        change = {"state": ApprovalState.EXPIRED.value, "decided_at": now}
        with writing(self._engine) as connection:
            connection.execute(sa.update(approvals).where(is_over).values(change))
            return _get(connection, approval_id)

    def purge(self, before: datetime) -> int:
        """Removes the questions that were settled before an instant, and says how many; open ones stay."""
        with writing(self._engine) as connection:
            return connection.execute(sa.delete(approvals).where(_c.settled_at < before)).rowcount

    def settle(self, approval_id: str) -> None:
        """The turn went on."""
        with writing(self._engine) as connection:
            connection.execute(
                sa.update(approvals)
                .where(_c.id == approval_id, _c.settled_at.is_(None))
                .values(settled_at=self._clock())
            )


def _get(connection: Connection, approval_id: str) -> Approval:
    row = connection.execute(sa.select(approvals).where(_c.id == approval_id)).one_or_none()
    if row is None:
        raise ApprovalNotFound(_unknown(approval_id))
    return _approval(row)


def _unknown(approval_id: str) -> str:
    return f"no approval {approval_id!r} is asked for here; GET /v1/approvals or `hone approvals list` shows those that are"


def _approval(row: sa.Row[Any]) -> Approval:
    return Approval.model_validate({name: getattr(row, name) for name in Approval.model_fields})
