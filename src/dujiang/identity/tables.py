"""The tables of identity. Keys are data, not configuration: apps and roles live in the document."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Index, LargeBinary, String, Table

from dujiang.storage.columns import UtcDateTime
from dujiang.storage.database import metadata

keys = Table(
    "keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("prefix", String(8), nullable=False),
    Column("secret_hash", LargeBinary(32), nullable=False, unique=True),
    Column("app", String(64), nullable=False),
    Column("roles", JSON, nullable=False),
    Column("name", String(200), nullable=False),
    Column("origin", String(20), nullable=False),
    Column("act_as_user", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
)
"""Only the SHA-256 of a secret is stored. `origin` is how a key came to be: `created`, `first_start`, `environment`."""

ledger = Table(
    "ledger",
    metadata,
    Column("budget_id", String(16), primary_key=True),
    Column("window_start", BigInteger, primary_key=True, autoincrement=False),
    Column("subject", String(600), primary_key=True),
    Column("currency", String(3), nullable=False),
    Column("spent_micros", BigInteger, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Index("ix_ledger_changed_at", "changed_at"),
)
"""What was spent of each budget by each subject in each window, corrections included. `window_start` is in Unix
seconds, 0 for a budget without windows."""

claims = Table(
    "ledger_claims",
    metadata,
    Column("record_id", LargeBinary(16), primary_key=True),
    Column("claimed_at", UtcDateTime, nullable=False),
    Index("ix_ledger_claims_claimed_at", "claimed_at"),
)
"""The records whose charges are in the ledger already: a record that comes again changes nothing."""

corrections = Table(
    "ledger_corrections",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("budget_id", String(16), nullable=False),
    Column("window_start", BigInteger, nullable=False),
    Column("subject", String(600), nullable=False),
    Column("amount_micros", BigInteger, nullable=False),
    Column("reason", String(1000), nullable=False),
    Column("author", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_ledger_corrections_account", "budget_id", "window_start", "subject"),
)
"""What people added to the ledger, and why. Never changed, never taken back but by another."""
