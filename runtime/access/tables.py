"""How API keys lie in the database: never the key, only what it is recognised by."""

import sqlalchemy as sa

from runtime.database import UtcDateTime
from tools.tables import tenant

metadata = sa.MetaData()

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("prefix", sa.String(16), primary_key=True, doc="the part of the key that is shown"),
    tenant(),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False, doc="groups of routes; empty: all that the role may use"),
    sa.Column("acts_for_others", sa.Boolean, nullable=False, doc="a request may name the user that it is for"),
    sa.Column(
        "limits", sa.JSON, nullable=False, doc="what it may use beside what the settings say; absent: as they say"
    ),
    sa.Column("sha256", sa.String(64), nullable=False, doc="of the secret"),
    sa.Column("former_sha256", sa.String(64), doc="of the secret before, as long as both are taken"),
    sa.Column("former_until", UtcDateTime()),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("created_by", sa.String(256)),
    sa.Column("rotated_at", UtcDateTime()),
    sa.Column("expires_at", UtcDateTime()),
    sa.Column("revoked_at", UtcDateTime()),
    sa.Column("last_used_at", UtcDateTime(), doc="to within a minute"),
    sa.Index("ix_api_keys_tenant", "tenant", "created_at"),
)
