"""The tables of identity. Keys and users are data, not configuration: apps and roles live in the document."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Index, LargeBinary, String, Table

from dujiang.storage.columns import UtcDateTime
from dujiang.storage.database import metadata

USER_ID_CHARACTERS = 200

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
    Column("models", JSON, nullable=False),
    Column("scenes", JSON, nullable=False),
    Column("limits", JSON, nullable=False),
    Column("budget", JSON(none_as_null=True)),
    Column("allowed_addresses", JSON, nullable=False),
    Column("created_by", String(36)),
    Column("previous_hash", LargeBinary(32)),
    Column("previous_until", UtcDateTime),
    Column("mark", BigInteger, nullable=False),
    Index("ix_keys_mark", "mark"),
    Index("ix_keys_app", "app", "id"),
)
"""Only the SHA-256 of a secret is stored. `origin` is how a key came to be: `created`, `first_start`, `environment`;
`created_by` the key that made it. The secret before the last rotation has `previous_hash`. `mark` is the change mark of
identity at the row's last change; rows stay for good.
"""

users = Table(
    "users",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("id", String(USER_ID_CHARACTERS), primary_key=True),
    Column("blocked", Boolean, nullable=False),
    Column("roles", JSON, nullable=False),
    Column("limits", JSON, nullable=False),
    Column("budget", JSON(none_as_null=True)),
    Column("last_seen_at", UtcDateTime),
    Column("mark", BigInteger, nullable=False),
    Index("ix_users_mark", "mark"),
)
"""Users whom calls named, or who were written. `mark` is as in `keys`, 0 for those of whom nothing is said; being seen
does not change it.
"""

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
