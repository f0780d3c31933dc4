"""The tables of identity. Keys are data, not configuration: apps and roles live in the document."""

from sqlalchemy import JSON, Boolean, Column, LargeBinary, String, Table

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
