"""Targets that operators took out."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "holds",
        sa.Column("provider", sa.String(128), nullable=False),
        sa.Column("target", sa.String(300), nullable=False),
        sa.Column("credential", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("provider", "target", "credential", name="pk_holds"),
    )
