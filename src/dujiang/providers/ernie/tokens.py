"""ERNIE V1's access tokens: fetched once for all calls, renewed before they expire and once when one is refused."""

import asyncio
from time import monotonic
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from dujiang.core.errors import BadCredential, Timeout, UpstreamError
from dujiang.providers.connect import Origin, proxy_for, request_head
from dujiang.providers.ernie.credentials import V1Credential
from dujiang.providers.http import Pool
from dujiang.providers.service import request_fields

FETCH_S = 10.0
"""How long a fetch may take; it goes on for the others when the call that began it is gone."""

_MARGIN_S = 600.0
_MARGIN_SHARE = 0.1
_REFUSED = "invalid_client"


class Token(Struct, frozen=True):
    """An access token; `renew_at` is the monotonic second from which another is fetched."""

    value: str
    renew_at: float


class _Answer(Struct):
    access_token: str = ""
    expires_in: float = 0
    error: str = ""
    error_description: str = ""


_read = msgspec.json.Decoder(_Answer).decode


class Tokens:
    """The tokens of one credential. However many calls want one, a single fetch is running."""

    def __init__(self, pool: Pool, origin: Origin, credential: V1Credential) -> None:
        query = urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": credential.api_key,
                "client_secret": credential.secret_key,
            }
        )
        self._request = (
            request_head(origin, f"/oauth/2.0/token?{query}", request_fields(""), proxy_for(origin)) + b"0\r\n\r\n"
        )
        self._pool = pool
        self._token: Token | None = None
        self._fetch: asyncio.Task[Token] | None = None

    async def get(self, deadline: float) -> Token:
        """A token to use now. Raises `BadCredential`, or another `UpstreamError` when none can be had."""
        token = self._token
        if token is not None and monotonic() < token.renew_at:
            return token
        return await self._fetched(deadline)

    async def renewed(self, refused: Token, deadline: float) -> Token:
        """A token in the place of one that was refused: the one that others fetched meanwhile, else a new one."""
        token = self._token
        if token is not None and token is not refused:
            return token
        self._token = None
        return await self._fetched(deadline)

    async def probe(self, timeout_s: float) -> None:
        """Whether a new token is to be had. Raises as `get`."""
        await self._fetched(monotonic() + timeout_s)

    def close(self) -> None:
        if self._fetch is not None:
            self._fetch.cancel()

    async def _fetched(self, deadline: float) -> Token:
        fetch = self._fetch
        if fetch is None or fetch.done():
            fetch = self._fetch = asyncio.create_task(self._fetch_token(), name="fetch an ERNIE token")
            fetch.add_done_callback(_retrieve)
        try:
            async with asyncio.timeout(max(0.0, deadline - monotonic())):
                return await asyncio.shield(fetch)
        except TimeoutError as error:
            raise Timeout("ERNIE did not give an access token in time.", reason="token") from error

    async def _fetch_token(self) -> Token:
        now = monotonic()
        exchange = await self._pool.send(self._request, FETCH_S, now + FETCH_S, "an access token")
        try:
            body = await exchange.body()
            status = exchange.status
        finally:
            exchange.release()
        try:
            answer = _read(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            answer = _Answer()
        if not answer.access_token:
            raise _refusal(status, answer)
        margin_s = min(_MARGIN_S, answer.expires_in * _MARGIN_SHARE)
        self._token = Token(answer.access_token, now + answer.expires_in - margin_s)
        return self._token


def _retrieve(fetch: "asyncio.Task[Token]") -> None:
    """Look at a failed fetch, so that one whose callers are all gone is not reported as forgotten."""
    if not fetch.cancelled():
        fetch.exception()


def _refusal(status: int, answer: _Answer) -> UpstreamError:
    if answer.error == _REFUSED:
        what = "API key" if "unknown client" in answer.error_description else "secret key"
        made: UpstreamError = BadCredential(
            f"ERNIE does not know the gateway's {what}; an operator must check the credential.", reason=answer.error
        )
    else:
        made = UpstreamError("ERNIE gave no access token; try again later.", reason=answer.error or str(status))
    made.raw = f"{status} {answer.error} {answer.error_description}"[:500]
    return made
