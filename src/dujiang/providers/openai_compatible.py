"""A provider for every service that speaks the OpenAI chat format."""

from collections.abc import Mapping

from dujiang.core.call import Call
from dujiang.core.chat import Chunk
from dujiang.core.errors import UpstreamError
from dujiang.core.reply import Reply, WholeReply
from dujiang.providers.clocks import Clocks
from dujiang.providers.connect import Origin, dialer_for, proxy_for, request_head
from dujiang.providers.errors import classify, read_error, retry_after_s
from dujiang.providers.http import Exchange, Pool, monotonic
from dujiang.providers.model_list import model_list_probe
from dujiang.providers.openai_stream import OpenAIEvents
from dujiang.providers.openai_wire import encode_request, read_completion
from dujiang.providers.paced import streamed
from dujiang.providers.presets import Preset
from dujiang.providers.service import Endpoint, Service, request_fields


class OpenAICompatible:
    """One model at one service under one credential. Calling it opens a reply."""

    def __init__(self, pool: Pool, head: bytes, secret: str, model: str, clocks: Clocks, preset: Preset) -> None:
        self._pool = pool
        self._head = head
        self._secret = secret
        self._model = model
        self._clocks = clocks
        self._preset = preset

    async def __call__(self, call: Call) -> Reply:
        body = encode_request(call.request, self._model, self._preset)
        payload = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        if call.request.stream:
            return await self._open_stream(call, payload)
        return await self._open_whole(call, payload)

    async def _open_whole(self, call: Call, payload: bytes) -> Reply:
        clocks = self._clocks
        due = min(call.deadline, monotonic() + clocks.total_s)
        exchange = await self._pool.send(payload, clocks.connect_s, due, "its answer")
        try:
            body = await exchange.body()
            if exchange.status != 200:
                raise self._error_of(exchange, body)
            require_plain(exchange)
        finally:
            exchange.release()
        return WholeReply(self._completion(body, call))

    async def _open_stream(self, call: Call, payload: bytes) -> Reply:
        clocks = self._clocks
        end = min(call.deadline, monotonic() + clocks.total_s)
        due = min(end, monotonic() + clocks.first_token_s)
        exchange = await self._pool.send(payload, clocks.connect_s, due, "its first token")
        is_open = False
        try:
            status = await exchange.head()
            content_type = exchange.header(b"content-type") or b""
            if status != 200 or content_type.startswith(b"application/json"):
                body = await exchange.body()
                if status != 200:
                    raise self._error_of(exchange, body)
                require_plain(exchange)
                return WholeReply(self._completion(body, call))
            require_plain(exchange)
            events = OpenAIEvents(call.request, self._secret, self._preset.codes)
            reply = streamed(exchange, events, end, clocks)
            await reply.prime()
            is_open = True
        finally:
            if not is_open:
                exchange.release()
        return reply

    def _completion(self, body: bytes, call: Call) -> Chunk:
        if body.lstrip()[:8] == b'{"error"':
            error = read_error(body)
            if error.message or error.code:
                raise classify(200, error, secret=self._secret, codes=self._preset.codes)
        return read_completion(body, call.request)

    def _error_of(self, exchange: Exchange, body: bytes) -> UpstreamError:
        return classify(
            exchange.status,
            read_error(body),
            secret=self._secret,
            codes=self._preset.codes,
            retry_after_s=retry_after_s(exchange.headers),
        )


def require_plain(exchange: Exchange) -> None:
    if exchange.header(b"content-encoding") not in (None, b"identity"):
        raise UpstreamError("The model's service sent a compressed answer, which was not asked for.", reason="encoding")


class RemoteService(Service):
    """A service that speaks the OpenAI format at some address."""

    def __init__(
        self, name: str, base_url: str, origin: Origin, preset: Preset, secrets: Mapping[str, tuple[str, float]]
    ) -> None:
        super().__init__(name)
        base_path = base_url.split("://", 1)[1].partition("/")[2].rstrip("/")
        root = f"/{base_path}" if base_path else ""
        path = f"{root}/chat/completions"
        proxy = proxy_for(origin)
        self._preset = preset
        self._secrets = secrets
        self._heads = {
            name: request_head(origin, path, request_fields(secret), proxy) for name, (secret, _) in secrets.items()
        }
        self._pool = Pool(dialer_for(origin))
        self._probes = {
            name: model_list_probe(self._pool, origin, f"{root}/models", secret, preset.codes)
            for name, (secret, _) in secrets.items()
        }

    def endpoints(self, model: str, clocks: Clocks) -> tuple[Endpoint, ...]:
        return tuple(
            Endpoint(
                name,
                weight,
                OpenAICompatible(self._pool, self._heads[name], secret, model, clocks, self._preset),
                self._probes[name],
            )
            for name, (secret, weight) in self._secrets.items()
        )

    def close(self) -> None:
        self._pool.close()
