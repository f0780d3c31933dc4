"""The `records` of the document: what is kept of a call, how long, and how surely."""

from typing import Annotated, Literal

from msgspec import Meta

from dujiang.core.settings import ContentPolicy, Settings

Days = Annotated[int, Meta(ge=1, le=3650)]


class RecordSettings(Settings):
    """What is kept of a call, and how long; content never longer than its record.

    An app may have a `content` of its own.

    `durability` is what an acknowledged call's record survives: the end of the process however sudden, or a failure of
    power too, which costs a flush of the disk on every call. With `process`, `fsync_ms` bounds what a failure of power
    may take. `journal_limit_bytes` bounds what may wait while the database is away; `when_full` is what then becomes of
    calls: none is taken, or they are served without a record, counted and reported.
    """

    content: ContentPolicy = "masked"
    retention_days: Days = 90
    content_retention_days: Days = 14
    durability: Literal["process", "power"] = "process"
    fsync_ms: Annotated[int, Meta(ge=1, le=60_000)] = 1000
    journal_limit_bytes: Annotated[int, Meta(ge=1_048_576, le=1_099_511_627_776)] = 2 * 1024**3
    when_full: Literal["refuse", "serve_and_alarm"] = "refuse"
