"""What a key narrows, and by whom it was made; users; change marks; an audit of every management write."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    _extend_keys()
    op.create_table(
        "users",
        sa.Column("app", sa.String(64), nullable=False),
        sa.Column("id", sa.String(200), nullable=False),
        sa.Column("blocked", sa.Boolean(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("limits", sa.JSON(), nullable=False),
        sa.Column("budget", sa.JSON()),
        sa.Column("last_seen_at", sa.DateTime(timezone=True)),
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app", "id", name="pk_users"),
    )
    op.create_index("ix_users_mark", "users", ["mark"])
    op.create_table(
        "marks",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_marks"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(300), nullable=False),
        sa.Column("outcome", sa.String(40), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("before", sa.Text()),
        sa.Column("after", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_outcome", "audit", ["outcome", "id"])
    op.execute(
        "INSERT INTO audit (id, at, author, action, outcome, detail, subject) "
        "SELECT id, at, author, action, outcome, detail, 'config' FROM config_audit"
    )
    op.drop_table("config_audit")


def _extend_keys() -> None:
    with op.batch_alter_table("keys") as batch:
        batch.add_column(sa.Column("models", sa.JSON(), nullable=False, server_default='["*"]'))
        batch.add_column(sa.Column("scenes", sa.JSON(), nullable=False, server_default='["*"]'))
        batch.add_column(sa.Column("limits", sa.JSON(), nullable=False, server_default="{}"))
        batch.add_column(sa.Column("budget", sa.JSON()))
        batch.add_column(sa.Column("allowed_addresses", sa.JSON(), nullable=False, server_default="[]"))
        batch.add_column(sa.Column("created_by", sa.String(36)))
        batch.add_column(sa.Column("previous_hash", sa.LargeBinary(32)))
        batch.add_column(sa.Column("previous_until", sa.DateTime(timezone=True)))
        batch.add_column(sa.Column("mark", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("ix_keys_mark", "keys", ["mark"])
    op.create_index("ix_keys_app", "keys", ["app", "id"])
