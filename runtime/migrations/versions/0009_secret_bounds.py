"""Where each secret may be sent; those from before go nowhere until their keeper names the hosts."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("secrets", sa.Column("hosts", sa.JSON))
    op.add_column("secrets", sa.Column("tools", sa.JSON))


def downgrade() -> None:
    op.drop_column("secrets", "tools")
    op.drop_column("secrets", "hosts")
