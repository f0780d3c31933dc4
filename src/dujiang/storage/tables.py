"""The tables that belong to storage itself. Secrets are data, not configuration: documents only name them."""

from sqlalchemy import Column, LargeBinary, String, Table

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
