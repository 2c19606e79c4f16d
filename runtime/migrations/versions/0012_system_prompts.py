"""What the policy is told first, for each tenant."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "system_prompts",
        sa.Column("tenant", sa.String(64), primary_key=True, server_default="default"),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("system_prompts")
