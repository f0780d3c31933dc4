"""The tables that belong to storage itself. Secrets are data, not configuration: documents only name them."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, String, Table, Text

from dujiang.storage.columns import UtcDateTime
from dujiang.storage.database import metadata

secrets = Table(
    "secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("origin", String(300), nullable=False),
    Column("key_id", String(16), nullable=False),
    Column("nonce", LargeBinary(12), nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(200), nullable=False),
)
"""`kind` and `origin` are the binding. The ciphertext ends with the tag of AES-GCM, over name and binding too."""

audit = Table(
    "audit",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("author", String(200), nullable=False),
    Column("action", String(40), nullable=False),
    Column("subject", String(300), nullable=False),
    Column("outcome", String(40), nullable=False),
    Column("detail", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Index("ix_audit_outcome", "outcome", "id"),
)
"""Who changed what, or tried to. `before` and `after` are JSON, without secrets."""

holds = Table(
    "holds",
    metadata,
    Column("provider", String(128), primary_key=True),
    Column("target", String(300), primary_key=True),
    Column("credential", String(128), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("author", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
"""Targets that operators took out. An empty name stands for every one."""

marks = Table(
    "marks",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("number", BigInteger, nullable=False),
)
"""Counters that grow with every change of what they are named for."""
