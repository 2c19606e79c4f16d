"""Alembic's entry point: runs the revisions on the connection that `runtime.database` hands over.

The tables named here are what `alembic revision --autogenerate` and the drift test compare the schema with.
"""

from alembic import context

import runtime.access.tables
import runtime.agent.tables
import runtime.approvals.tables
import runtime.policy.deployment
import runtime.report.measurements
import runtime.traces.tables
import tools.tables

METADATA = [
    tools.tables.metadata,
    runtime.traces.tables.metadata,
    runtime.policy.deployment.metadata,
    runtime.agent.tables.metadata,
    runtime.report.measurements.metadata,
    runtime.approvals.tables.metadata,
    runtime.access.tables.metadata,
]

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
