"""Where a Redis or Valkey server is. An address may hold a password: nothing here repeats it."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import RedisError

from dujiang.core.errors import Misconfigured

CONNECT_S = 1.0
"""How long connecting and greeting may take, in the background."""

NewConnection = Callable[[], AbstractConnection]


def read_address(url: str) -> NewConnection:
    """What makes connections to `redis://USER:PASSWORD@HOST:PORT/DATABASE`, `rediss://…` (TLS) or
    `unix:///PATH?db=DATABASE`.

    Raises `Misconfigured` for what is no such address.
    """
    try:
        options = cast("dict[str, Any]", parse_url(url))
        kind = options.pop("connection_class", Connection)
        connection = partial(
            kind, **(options | {"socket_timeout": None, "socket_connect_timeout": CONNECT_S, "protocol": 2})
        )
        if "host" in options or "path" in options:
            connection()
            return connection
    except (ValueError, TypeError, RedisError):
        pass
    raise Misconfigured(
        "The Redis URL is not valid: write `redis://USER:PASSWORD@HOST:PORT/DATABASE`, `rediss://…` for TLS, or "
        "`unix:///PATH?db=DATABASE`.",
        param="DUJIANG_REDIS_URL",
    )
