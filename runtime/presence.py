"""Which server processes live, where several share one PostgreSQL database, perhaps from several machines.

Processes of one home know of one another at once, by their locks (`tools.presence`). Of the others a row in the database tells,
which each renews every second and which the database's own clock judges: clocks of machines are not compared. On SQLite, a file on
one machine, the locks are enough, and nothing is written.
"""

import asyncio
import time
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Engine

from runtime.agent.tables import servers
from runtime.database import upsert, writing
from runtime.errors import StoreError, told
from tools.presence import Presence

log = structlog.get_logger(__name__)

BEAT_S = 1.0
LEASE_S = 5.0
"""A process that has said nothing for so long is taken for dead: others take up its turns."""
SURE_S = LEASE_S / 2
"""How fresh the own row must be before something is done that may not be done twice."""
REMEMBERED = timedelta(days=7)
"""How long it is known of a process that it has ended; its calls are over by their own time limits long before."""


class SharedPresence(Presence):
    """This process among all that share a database."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        """Raises: StoreError."""
        super().__init__(folder)
        self._engine = engine
        self._is_shared = engine.dialect.name == "postgresql"
        self._gone: frozenset[str] = frozenset()
        self._beaten_at = 0.0
        try:
            self.beat()
        except BaseException:
            super().close()
            raise

    def is_gone(self, owner: str) -> bool:
        return super().is_gone(owner) or (owner in self._gone and not self.is_here(owner))

    def has_left(self, owner: str) -> bool:
        """Whether what a process had under way is for others to take up."""
        # all processes of a SQLite database lie in one folder: who is not here is gone, though its lock was forgotten since
        return self.is_gone(owner) if self._is_shared else not self.is_here(owner)

    def beat(self) -> None:
        """Says that this process lives, and learns who does not. Raises: StoreError."""
        if not self._is_shared:
            return
        began = time.monotonic()
        now = sa.func.clock_timestamp(type_=sa.DateTime(timezone=True))
        mine = {"owner": self.owner, "until": now + timedelta(seconds=LEASE_S)}
        statement = upsert(self._engine, servers).values(mine)
        with writing(self._engine) as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=["owner"], set_={"until": statement.excluded.until})
            )
            gone = connection.scalars(sa.select(servers.c.owner).where(servers.c.until < now)).all()
            connection.execute(sa.delete(servers).where(servers.c.until < now - REMEMBERED))
        self._gone = frozenset(gone)
        self._beaten_at = began

    def make_sure(self) -> None:
        """Nobody takes this process for dead within the next moments. Raises: StoreError: that cannot be said."""
        if time.monotonic() - self._beaten_at > SURE_S:
            self.beat()

    async def run(self) -> None:
        """Beats until it is cancelled."""
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await asyncio.to_thread(self.beat)
            except StoreError as e:  # the database may be back at the next beat
                log.error("this server's row is not renewed", error=told(e))

    def close(self) -> None:
        super().close()
        if not self._is_shared:
            return
        ended = sa.update(servers).where(servers.c.owner == self.owner).values(until=sa.func.clock_timestamp())
        try:
            with writing(self._engine) as connection:
                connection.execute(ended)
        except StoreError as e:  # its row runs out by itself
            log.warning("this server's end is not on record", error=told(e))
