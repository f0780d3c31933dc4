"""A question that costs nothing: which models a service has. It tells whether it is there and lets a credential in."""

from time import monotonic

from dujiang.providers.connect import Origin, proxy_for, request_head
from dujiang.providers.errors import Codes, classify, read_error, retry_after_s
from dujiang.providers.http import Pool
from dujiang.providers.service import Probe, request_fields


def model_list_probe(pool: Pool, origin: Origin, path: str, secret: str, codes: Codes) -> Probe:
    """The probe of a service that lists its models at `path`."""
    payload = request_head(origin, path, request_fields(secret), proxy_for(origin), "GET") + b"0\r\n\r\n"

    async def probe(timeout_s: float) -> None:
        exchange = await pool.send(payload, timeout_s, monotonic() + timeout_s, "its list of models")
        try:
            body = await exchange.body()
            if exchange.status != 200:
                error = read_error(body)
                raise classify(
                    exchange.status, error, secret=secret, codes=codes, retry_after_s=retry_after_s(exchange.headers)
                )
        finally:
            exchange.release()

    return probe
