"""A message to an address that an operator chose: one POST, under the same rules as a provider's address."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from dujiang.providers.connect import dialer_for, origin_of, proxy_for, request_head
from dujiang.providers.http import Pool, WireLimits, monotonic

_LIMITS = WireLimits(body_bytes=64 * 1024, connections=1)


async def post(
    url: str, fields: Mapping[str, str], body: bytes, *, allow_private_network: bool, timeout_s: float
) -> int:
    """The status of the answer, which is read no further; a redirect is an answer like any other.

    Raises `UpstreamError` where none comes in time, and `Misconfigured` for an address in a forbidden range.
    """
    origin = origin_of(url, allow_private_network=allow_private_network)
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = request_head(origin, target, dict(fields), proxy_for(origin))
    pool = Pool(dialer_for(origin), _LIMITS)
    due = monotonic() + timeout_s
    try:
        exchange = await pool.send(b"%b%d\r\n\r\n%b" % (head, len(body), body), timeout_s, due, "its answer")
        try:
            return await exchange.head()
        finally:
            exchange.release()
    finally:
        pool.close()
