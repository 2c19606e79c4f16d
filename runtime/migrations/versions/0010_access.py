"""Access: API keys, the audit log, and whose each row is; what was there before is the default tenant's.

Built-in tools and functions of the program are shared with all tenants. There is a way back as long as there is one tenant:
what lies below cannot keep several apart.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

INSTANT = sa.DateTime(timezone=True)
SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")
OWNED = ("tools", "tool_drafts", "secrets", "tool_calls", "tool_holds", "tool_measurements")
OF_USERS = ("traces", "thread_heads", "approvals")
KEYS = {"tool_drafts": ["name"], "secrets": ["name", "version"], "tool_holds": ["name", "kind"]}
"""Names that each tenant may give."""
APPEND_ONLY = "the audit log is only added to"


def upgrade() -> None:
    _create_api_keys()
    _create_audit()
    for table in (*OWNED, *OF_USERS):
        op.add_column(table, sa.Column("tenant", sa.String(64), nullable=False, server_default="default"))
    for table in OF_USERS:
        op.add_column(table, sa.Column("user", sa.String(256)))
    for table, names in KEYS.items():
        _key(table, ["tenant", *names])
    with op.batch_alter_table("tools") as batch:
        batch.drop_constraint("uq_tools_name_version", type_="unique")
        batch.create_unique_constraint("uq_tools_tenant_name_version", ["tenant", "name", "version"])
    op.create_index("ix_traces_tenant", "traces", ["tenant", "created_at", "seq"])
    _share_our_own()


def downgrade() -> None:
    _check_one_tenant()
    op.drop_index("ix_traces_tenant", "traces")
    with op.batch_alter_table("tools") as batch:
        batch.drop_constraint("uq_tools_tenant_name_version", type_="unique")
        batch.create_unique_constraint("uq_tools_name_version", ["name", "version"])
    for table, names in KEYS.items():
        _key(table, names)
    for table in OF_USERS:
        op.drop_column(table, "user")
    for table in (*OWNED, *OF_USERS):
        op.drop_column(table, "tenant")
    op.drop_table("audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION hone_refuse_change()")
    op.drop_table("api_keys")


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("prefix", sa.String(16), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False, server_default="default"),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("acts_for_others", sa.Boolean, nullable=False),
        sa.Column("limits", sa.JSON, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("former_sha256", sa.String(64)),
        sa.Column("former_until", INSTANT),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("created_by", sa.String(256)),
        sa.Column("rotated_at", INSTANT),
        sa.Column("expires_at", INSTANT),
        sa.Column("revoked_at", INSTANT),
        sa.Column("last_used_at", INSTANT),
    )
    op.create_index("ix_api_keys_tenant", "api_keys", ["tenant", "created_at"])


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", SERIAL, primary_key=True, autoincrement=True),
        sa.Column("tenant", sa.String(64), nullable=False, server_default="default"),
        sa.Column("user", sa.String(256)),
        sa.Column("via", sa.String(64), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("thing", sa.String(256), nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
    )
    op.create_index("ix_audit_tenant", "audit", ["tenant", "seq"])
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_refuses_{change.lower()} BEFORE {change} ON audit "
                f"BEGIN SELECT RAISE(ABORT, '{APPEND_ONLY}'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION hone_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{APPEND_ONLY}'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_refuses_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION hone_refuse_change()"
    )


def _key(table: str, columns: list[str]) -> None:
    """Gives a table another primary key; SQLite's is made anew with it."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.drop_constraint(f"{table}_pkey", table, type_="primary")
        op.create_primary_key(f"{table}_pkey", table, columns)
        return
    before = sa.Table(table, sa.MetaData(), autoload_with=connection)
    op.rename_table(table, f"{table}_before")
    op.create_table(
        table,
        *(
            sa.Column(
                column.name,
                column.type,
                nullable=column.nullable,
                server_default="default" if column.name == "tenant" else None,
                primary_key=column.name in columns,
                autoincrement=False,
            )
            for column in before.columns
        ),
    )
    names = ", ".join(column.name for column in before.columns)
    op.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {table}_before")
    op.drop_table(f"{table}_before")


def _share_our_own() -> None:
    tools = sa.table("tools", sa.column("tenant", sa.String), sa.column("spec", sa.JSON), sa.column("name", sa.String))
    is_ours = tools.c.spec["backend"]["kind"].as_string().in_(["builtin", "python"])
    names = sa.select(tools.c.name).where(is_ours)
    holds = sa.table("tool_holds", sa.column("tenant", sa.String), sa.column("name", sa.String))
    op.execute(sa.update(holds).where(holds.c.name.in_(names)).values(tenant="shared"))
    # all versions of such a name, so that none stands in two places
    connection = op.get_bind()
    ours = list(connection.scalars(names.distinct()))
    for name in ours:
        op.execute(sa.update(tools).where(tools.c.name == name).values(tenant="shared"))


def _check_one_tenant() -> None:
    connection = op.get_bind()
    for name in (*OWNED, *OF_USERS, "api_keys"):
        table = sa.table(name, sa.column("tenant", sa.String))
        other = sa.select(table.c.tenant).where(table.c.tenant.not_in(["default", "shared"])).limit(1)
        found = connection.scalar(other)
        if found is not None:
            raise ValueError(
                f"{name} holds rows of tenant {found!r}, which a database of 0009 cannot keep apart: move them first"
            )
