"""What policies got right on the cases of a tool: one row for each time that they were run over them."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.engine import Engine

from runtime.database import UtcDateTime, reading, writing
from tools.tables import tenant

KINDS = ("execute", "clarify", "refuse")
"""The decisions that a case can call for."""

metadata = sa.MetaData()

tool_measurements = sa.Table(
    "tool_measurements",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    tenant(),
    sa.Column("tool", sa.String(64), nullable=False),
    sa.Column("tool_sha256", sa.String(64), nullable=False),
    sa.Column("cases", sa.String(64), nullable=False, doc="digest of the cases"),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("adapter", sa.String(128)),
    sa.Column("results", sa.JSON, nullable=False),
    sa.Column("measured_at", UtcDateTime(), nullable=False),
    sa.Index("ix_tool_measurements_tool", "tool", "id"),
    info={"shared": True},
)


class CaseResult(BaseModel):
    """What a policy made of one case."""

    model_config = ConfigDict(frozen=True)

    case: str
    """Its id."""
    said: str
    """What the user says in it."""
    truth: str
    """The kind of decision that is right."""
    decided: str
    reward: float
    exact: bool
    reasons: tuple[str, ...] = ()
    """What is wrong, in words."""


class Measurement(BaseModel):
    """One policy on all cases of one version of a tool; figures are derived from the single results."""

    model_config = ConfigDict(frozen=True)

    tool: str
    tool_sha256: str
    cases: str
    """Digest of the cases: only figures on the same ones can be compared."""
    model: str
    adapter: str | None
    """None is the base."""
    results: tuple[CaseResult, ...]
    measured_at: datetime

    @property
    def reward(self) -> float:
        return _mean([result.reward for result in self.results])

    @property
    def exact(self) -> float:
        """Share of the cases that are right in full."""
        return _mean([float(result.exact) for result in self.results])

    @property
    def exact_by_kind(self) -> dict[str, float]:
        of_kind = {kind: [float(r.exact) for r in self.results if r.truth == kind] for kind in KINDS}
        return {kind: _mean(members) for kind, members in of_kind.items() if members}

    @property
    def confusion(self) -> dict[str, dict[str, int]]:
        """Right kind → decided kind → cases."""
        counts = Counter((result.truth, result.decided) for result in self.results)
        decided = (*KINDS, "answer", "invalid")
        return {truth: {kind: counts[truth, kind] for kind in decided} for truth in KINDS}


class Measurements:
    """The one owner of the `tool_measurements` table."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def keep(self, measurement: Measurement) -> None:
        with writing(self._engine) as connection:
            connection.execute(sa.insert(tool_measurements).values(measurement.model_dump(mode="python")))

    def latest(self, tool: str) -> list[Measurement]:
        """The newest measurement of each base and adapter on one tool, oldest first."""
        newest = (
            sa.select(sa.func.max(tool_measurements.c.id))
            .where(tool_measurements.c.tool == tool)
            .group_by(tool_measurements.c.model, tool_measurements.c.adapter)
        )
        query = sa.select(tool_measurements).where(tool_measurements.c.id.in_(newest)).order_by(tool_measurements.c.id)
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [Measurement.model_validate({name: row[name] for name in Measurement.model_fields}) for row in rows]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
