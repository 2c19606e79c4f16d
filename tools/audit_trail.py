"""The audit log: who did what to which thing.

An entry is written within the transaction of what it tells of, by whoever owns the thing's table, so that neither is ever
there without the other, whether it was done over HTTP, on the command line or by hone itself. The table takes no change and
no deletion; `runtime.access.audit` reads it.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert

from tools.tables import audit
from tools.tenancy import Caller, caller

_THING_CHARS = 256
_ITSELF = Caller("default")


def note(connection: Connection, action: str, thing: str, **details: Any) -> None:
    """Adds an entry in the name of whoever acts.

    Args:
        action: noun and verb, as in `tool.registered`.
        thing: name or id of what it was done to.
        details: what else to know, JSON; no secret, and nothing that a user said.
    """
    who = caller() or _ITSELF
    connection.execute(
        insert(audit).values(
            user=who.user, via=who.via, action=action, thing=thing[:_THING_CHARS], details=details, at=datetime.now(UTC)
        )
    )
