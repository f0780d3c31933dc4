"""What the parent process tells a worker."""

from msgspec import Struct

from dujiang.providers.local import Embedded
from dujiang.telemetry.logging import LogFormat


class Orders(Struct, frozen=True):
    """`listener` is an inherited descriptor, `embedded` where the models of `local` providers listen. It goes through a
    pipe, since it holds keys and passwords.

    `worker` is the number of this one of `workers`, from 1. The server started at `started_at`, in monotonic seconds,
    which all processes of a machine share.
    """

    listener: int
    database_url: str
    redis_url: str | None
    data_dir: str
    embedded: dict[str, Embedded]
    drain_s: float
    body_limit_bytes: int
    has_open_metrics: bool
    log_format: LogFormat
    worker: int
    workers: int
    started_at: float
    trusted_proxies: tuple[str, ...]
