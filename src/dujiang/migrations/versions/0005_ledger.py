"""What was spent of budgets."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "ledger",
        sa.Column("budget_id", sa.String(16), nullable=False),
        sa.Column("window_start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("subject", sa.String(600), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("spent_micros", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("budget_id", "window_start", "subject", name="pk_ledger"),
    )
    op.create_index("ix_ledger_changed_at", "ledger", ["changed_at"])
    op.create_table(
        "ledger_claims",
        sa.Column("record_id", sa.LargeBinary(16), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("record_id", name="pk_ledger_claims"),
    )
    op.create_index("ix_ledger_claims_claimed_at", "ledger_claims", ["claimed_at"])
    op.create_table(
        "ledger_corrections",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("budget_id", sa.String(16), nullable=False),
        sa.Column("window_start", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.String(600), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_corrections"),
    )
    op.create_index("ix_ledger_corrections_account", "ledger_corrections", ["budget_id", "window_start", "subject"])
