"""Opening a connection to an origin: resolve, refuse forbidden addresses, go through a proxy, verify TLS."""

import asyncio
import base64
import ssl
from typing import Literal, Protocol
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment
from urllib.request import proxy_bypass_environment as bypasses_proxy  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType] - not in typeshed

from msgspec import Struct

from dujiang.core.errors import Misconfigured
from dujiang.providers.address import Address, is_forbidden, is_metadata, refuse_host
from dujiang.providers.resolve import Resolver, SystemResolver

_TUNNEL_HEAD_BYTES = 16 * 1024


class Origin(Struct, frozen=True):
    """Scheme, host and port of a service, and whether it may live in a private network."""

    scheme: str
    host: str
    port: int
    allow_private_network: bool = False

    @property
    def authority(self) -> str:
        is_default = self.port == {"http": 80, "https": 443}[self.scheme]
        return self._host if is_default else self.full_authority

    @property
    def full_authority(self) -> str:
        """The authority with its port, even the default one, as `CONNECT` wants it."""
        return f"{self._host}:{self.port}"

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


class Proxy(Struct, frozen=True):
    """An HTTP proxy. `authorization` is the value of its `Proxy-Authorization` field, if it wants one."""

    host: str
    port: int
    authorization: str | None = None


class Dialer(Protocol):
    """Connects a protocol to where its pool's requests go. Raises `OSError` or `Misconfigured`."""

    async def connect(self, protocol: asyncio.Protocol) -> None: ...


def origin_of(base_url: str, *, allow_private_network: bool) -> Origin:
    """The origin of a base URL that the configuration accepted."""
    url = urlsplit(base_url)
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    return Origin(url.scheme, url.hostname or "", port, allow_private_network)


def proxy_for(origin: Origin) -> Proxy | None:
    """The proxy that `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name for an origin, if any."""
    proxies = getproxies_environment()
    address = proxies.get(origin.scheme)
    if not address or bypasses_proxy(f"{origin.host}:{origin.port}", proxies):
        return None
    url = urlsplit(address if "://" in address else f"http://{address}")
    if url.scheme != "http" or not url.hostname:
        raise Misconfigured(f"The proxy for {origin.scheme} must be an http:// address.")
    authorization = None
    if url.username:
        credentials = f"{unquote(url.username)}:{unquote(url.password or '')}"
        authorization = "Basic " + base64.b64encode(credentials.encode()).decode()
    return Proxy(url.hostname, url.port or 80, authorization)


def forbidden_addresses(origin: Origin, found: tuple[Address, ...]) -> tuple[Address, ...]:
    """Those of an origin's addresses that nobody may connect to for it."""
    is_refused = is_metadata if origin.allow_private_network else is_forbidden
    return tuple(address for address in found if is_refused(address))


class DirectDialer:
    """Connects to the origin itself: to an address that was resolved and judged a moment ago, never by the name again,
    which may have changed its answer.
    """

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None, resolver: Resolver | None = None) -> None:
        self._origin = origin
        self._tls = tls
        self._resolver = resolver or SystemResolver()

    async def connect(self, protocol: asyncio.Protocol) -> None:
        loop = asyncio.get_running_loop()
        addresses = await self._addresses()
        name = self._origin.host if self._tls else None
        for n, address in enumerate(addresses, start=1):
            try:
                await loop.create_connection(
                    lambda: protocol, str(address), self._origin.port, ssl=self._tls, server_hostname=name
                )
            except OSError:
                if n == len(addresses):
                    raise
            else:
                return

    async def _addresses(self) -> list[Address]:
        origin = self._origin
        _refuse_by_looks(origin)
        found = await self._resolver.resolve(origin.host, origin.port)
        refused = forbidden_addresses(origin, found)
        allowed = [address for address in found if address not in refused]
        if allowed:
            return allowed
        if not refused:
            raise OSError("the name has no address")
        if origin.allow_private_network:
            raise Misconfigured(f"{origin.host} leads to a cloud's metadata service.")
        raise Misconfigured(f"{origin.host} is in a private network; the provider needs `allow_private_network: true`.")


def _refuse_by_looks(origin: Origin) -> None:
    try:
        refuse_host(origin.host, may_be_private=origin.allow_private_network)
    except ValueError as error:
        raise Misconfigured(f"{origin.host} {error}.") from None


class TunnelDialer:
    """Connects to a TLS origin through a proxy's `CONNECT` (RFC 9110 §9.3.6). The proxy resolves the name, so the
    origin is judged by its looks alone.
    """

    def __init__(self, origin: Origin, proxy: Proxy, tls: ssl.SSLContext) -> None:
        self._origin = origin
        self._proxy = proxy
        self._tls = tls

    async def connect(self, protocol: asyncio.Protocol) -> None:
        loop = asyncio.get_running_loop()
        _refuse_by_looks(self._origin)
        tunnel = _Tunnel(loop)
        transport, _ = await loop.create_connection(lambda: tunnel, self._proxy.host, self._proxy.port)
        try:
            authority = self._origin.full_authority
            fields = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
            if self._proxy.authorization:
                fields.append(f"Proxy-Authorization: {self._proxy.authorization}")
            transport.write("\r\n".join([*fields, "", ""]).encode("ascii"))
            await tunnel.opened
            secured = await loop.start_tls(transport, protocol, self._tls, server_hostname=self._origin.host)
        except BaseException:
            transport.abort()
            raise
        if secured is None:
            raise ConnectionResetError("the proxy closed the tunnel")
        protocol.connection_made(secured)


class ForwardDialer:
    """Connects to a proxy that forwards plain HTTP; requests then carry the absolute form of their target. The proxy
    resolves the name, so the origin is judged by its looks alone.
    """

    def __init__(self, origin: Origin, proxy: Proxy) -> None:
        self._origin = origin
        self._proxy = proxy

    async def connect(self, protocol: asyncio.Protocol) -> None:
        loop = asyncio.get_running_loop()
        _refuse_by_looks(self._origin)
        await loop.create_connection(lambda: protocol, self._proxy.host, self._proxy.port)


class _Tunnel(asyncio.Protocol):
    """Reads a proxy's answer to `CONNECT`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.opened: asyncio.Future[None] = loop.create_future()
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self.opened.done():
            return
        if b"\r\n\r\n" in self._head:
            status = self._head.split(b" ", 2)[1:2]
            if status == [b"200"]:
                self.opened.set_result(None)
            else:
                self.opened.set_exception(ConnectionRefusedError("the proxy refused the tunnel"))
        elif len(self._head) > _TUNNEL_HEAD_BYTES:
            self.opened.set_exception(ConnectionRefusedError("the proxy sent too long a head"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionResetError("the proxy closed the connection"))


def dialer_for(origin: Origin) -> Dialer:
    """How to reach an origin from this process's environment. TLS is always verified against the system's roots."""
    proxy = proxy_for(origin)
    if origin.scheme == "http":
        return ForwardDialer(origin, proxy) if proxy else DirectDialer(origin, None)
    tls = ssl.create_default_context()
    tls.set_alpn_protocols(["http/1.1"])
    return TunnelDialer(origin, proxy, tls) if proxy else DirectDialer(origin, tls)


def request_head(
    origin: Origin,
    path: str,
    fields: dict[str, str],
    proxy: Proxy | None = None,
    method: Literal["GET", "POST"] = "POST",
) -> bytes:
    """The head of a request up to and including `Content-Length: `; the caller appends length, blank line and body.

    A `proxy` on the way to a plain HTTP origin forwards the request: it wants the absolute form, and its own password.
    Raises `ValueError` when a field could start another line.
    """
    if proxy is None or origin.scheme == "https":
        lines = [f"{method} {path} HTTP/1.1", f"Host: {origin.authority}"]
    else:
        lines = [f"{method} http://{origin.authority}{path} HTTP/1.1", f"Host: {origin.authority}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
    lines += [f"{name}: {value}" for name, value in fields.items()]
    if not all(line.isprintable() and line.isascii() for line in lines):
        raise ValueError("a header field holds a control character or is not ASCII")
    return ("\r\n".join(lines) + "\r\nContent-Length: ").encode("ascii")
