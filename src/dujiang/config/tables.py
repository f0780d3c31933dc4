"""The tables of configuration: entries by content, and what each revision changed."""

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Table, Text

from dujiang.storage.columns import UtcDateTime
from dujiang.storage.database import metadata

DIGEST_BYTES = 32
NAME_CHARACTERS = 160

entries = Table(
    "config_entries",
    metadata,
    Column("digest", LargeBinary(DIGEST_BYTES), primary_key=True),
    Column("text", Text, nullable=False),
)

revisions = Table(
    "config_revisions",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("author", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("comment", String(1000), nullable=False),
)
"""The parent of a revision is the number before it: whoever comes second finds it taken."""

changes = Table(
    "config_changes",
    metadata,
    Column("section", String(40), primary_key=True),
    Column("name", String(NAME_CHARACTERS), primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, nullable=False),
    Column("digest", LargeBinary(DIGEST_BYTES)),
    Index("ix_config_changes_revision", "revision"),
    Index("ix_config_changes_position", "position"),
)
"""What a revision put under a key; no digest where it took the key away. A revision holds the last change of each key
up to itself. `position` orders the keys of a section by when they came."""
