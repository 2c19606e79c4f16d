"""What the policy is told at the beginning of each turn of a tenant: its own text, else the one for all tenants."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from runtime.agent.tables import system_prompts
from runtime.database import Clock, reading, upsert, utc_now, writing
from runtime.errors import BadRequest, SystemPromptNotFound
from tools.audit_trail import note
from tools.tenancy import DEFAULT, SHARED, Caller, acting, caller

LONGEST = 20_000
"""Characters."""
FRESH_S = 2.0
"""How long a text that was read counts: a change is heard of within this."""
_c = system_prompts.c


@dataclass(frozen=True, slots=True)
class SystemPrompt:
    tenant: str
    """Whose text it is; `shared`: that of all tenants which have none of their own."""
    text: str
    set_at: datetime


class SystemPrompts:
    """The one owner of the `system_prompts` table. All is about the tenant of whoever acts."""

    def __init__(
        self, engine: Engine, *, clock: Clock = utc_now, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._monotonic = monotonic
        self._known: dict[str, tuple[float, SystemPrompt | None]] = {}

    def get(self) -> SystemPrompt | None:
        """What counts; None: nothing is said."""
        who = caller() or Caller(DEFAULT)
        with acting(who), reading(self._engine) as connection:
            rows = connection.execute(sa.select(system_prompts)).all()
        found = {row.tenant: SystemPrompt(row.tenant, row.text, row.set_at) for row in rows}
        return found.get(who.tenant) or found.get(SHARED)

    def text(self) -> str | None:
        """What counts, read anew every `FRESH_S` seconds."""
        who, now = caller() or Caller(DEFAULT), self._monotonic()
        at, known = self._known.get(who.tenant, (float("-inf"), None))
        if now - at >= FRESH_S:
            known = self.get()
            self._known[who.tenant] = now, known
        return None if known is None else known.text

    def set(self, text: str) -> SystemPrompt:
        """Raises: BadRequest: it is empty or too long, or holds what a database cannot keep."""
        if not text.strip() or len(text) > LONGEST or "\0" in text:
            raise BadRequest(
                f"text: {len(text)} characters; give 1 to {LONGEST:,}, not all of them blank and none of them NUL",
                param="text",
            )
        who = caller() or Caller(DEFAULT)
        made = SystemPrompt(who.tenant, text, self._clock())
        insert = upsert(self._engine, system_prompts).values(text=text, set_at=made.set_at)
        kept = insert.on_conflict_do_update(
            index_elements=["tenant"], set_={"text": insert.excluded.text, "set_at": insert.excluded.set_at}
        )
        with acting(who), writing(self._engine) as connection:
            connection.execute(kept)
            note(connection, "system_prompt.set", made.tenant, characters=len(text))
        self._known.clear()
        return made

    def clear(self) -> None:
        """Raises: SystemPromptNotFound: the tenant has none of its own."""
        who = caller() or Caller(DEFAULT)
        with acting(who), writing(self._engine) as connection:
            if not connection.execute(sa.delete(system_prompts).where(_c.tenant == who.tenant)).rowcount:
                raise SystemPromptNotFound(
                    f"tenant {who.tenant!r} has no system prompt of its own; there is nothing to clear"
                )
            note(connection, "system_prompt.cleared", who.tenant)
        self._known.clear()
