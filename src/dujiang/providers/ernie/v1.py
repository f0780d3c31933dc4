"""ERNIE V1 as a provider: one model under one application's keys."""

from dujiang.core.call import Call
from dujiang.core.chat import Chunk
from dujiang.core.errors import BadCredential
from dujiang.core.reply import Reply, WholeReply
from dujiang.providers.clocks import Clocks
from dujiang.providers.connect import Origin, proxy_for, request_head
from dujiang.providers.ernie.tokens import Token, Tokens
from dujiang.providers.ernie.wire import ErnieFrames, InvalidToken, encode_request, read_answer
from dujiang.providers.errors import classify, read_error, retry_after_s
from dujiang.providers.http import Exchange, Pool, monotonic
from dujiang.providers.openai_compatible import require_plain
from dujiang.providers.paced import streamed
from dujiang.providers.service import request_fields

_PATH = "/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/"


class ErnieV1:
    """Calling it opens a reply. A call whose token is refused is sent once more with a fresh one."""

    def __init__(
        self, pool: Pool, origin: Origin, tokens: Tokens, path: str, secrets: tuple[str, ...], clocks: Clocks
    ) -> None:
        self._pool = pool
        self._origin = origin
        self._proxy = proxy_for(origin)
        self._tokens = tokens
        self._path = _PATH + path
        self._secrets = secrets
        self._clocks = clocks
        self._head: tuple[Token, bytes] | None = None

    async def __call__(self, call: Call) -> Reply:
        body = encode_request(call.request)
        token = await self._tokens.get(call.deadline)
        try:
            return await self._open(call, token, body)
        except InvalidToken:
            token = await self._tokens.renewed(token, call.deadline)
        try:
            return await self._open(call, token, body)
        except InvalidToken as error:
            raise BadCredential(
                "ERNIE refuses fresh access tokens of the gateway; an operator must check the credential.",
                reason=error.reason,
            ) from error

    async def _open(self, call: Call, token: Token, body: bytes) -> Reply:
        clocks = self._clocks
        payload = b"%b%d\r\n\r\n%b" % (self._head_for(token), len(body), body)
        end = min(call.deadline, monotonic() + clocks.total_s)
        is_streamed = call.request.stream
        due = min(end, monotonic() + clocks.first_token_s) if is_streamed else end
        exchange = await self._pool.send(
            payload, clocks.connect_s, due, "its first token" if is_streamed else "its answer"
        )
        is_open = False
        try:
            await exchange.head()
            if is_streamed and _is_event_stream(exchange):
                require_plain(exchange)
                frames = ErnieFrames(call.request, (*self._secrets, token.value))
                reply = streamed(exchange, frames, end, clocks)
                await reply.prime()
                is_open = True
                return reply
            return WholeReply(await self._whole(exchange, call, token))
        finally:
            if not is_open:
                exchange.release()

    async def _whole(self, exchange: Exchange, call: Call, token: Token) -> Chunk:
        body = await exchange.body()
        require_plain(exchange)
        if exchange.status != 200:
            error = read_error(body)
            raise classify(exchange.status, error, secret=token.value, retry_after_s=retry_after_s(exchange.headers))
        return read_answer(body, call.request, (*self._secrets, token.value))

    def _head_for(self, token: Token) -> bytes:
        if self._head is None or self._head[0] is not token:
            path = f"{self._path}?access_token={token.value}"
            head = request_head(self._origin, path, request_fields(""), self._proxy)
            self._head = (token, head)
        return self._head[1]


def _is_event_stream(exchange: Exchange) -> bool:
    return exchange.status == 200 and (exchange.header(b"content-type") or b"").startswith(b"text/event-stream")
