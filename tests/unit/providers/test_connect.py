"""On the way to an upstream: proxies, TLS, and the addresses that a name may not lead to."""

import asyncio
import base64
import shutil
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import pytest
import uvloop

from dujiang.core.errors import AppError, Misconfigured, Timeout, Unavailable
from dujiang.providers.connect import (
    DirectDialer,
    ForwardDialer,
    Origin,
    Proxy,
    TunnelDialer,
    dialer_for,
    origin_of,
    proxy_for,
    request_head,
)
from dujiang.providers.http import Pool, WireLimits

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
NAME = "models.example"


class Resolving(uvloop.Loop):
    """A loop with a resolver of its own: names lead where `names` says."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, list[str]] = {}
        self.servers: list[asyncio.Server] = []
        self.serving: set[asyncio.Task[None]] = set()

    async def getaddrinfo(self, host, port, **options):
        found = self.names.get(host, [host])
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]


def run(main: Callable[[], Awaitable[None]], **names: list[str]) -> None:
    def loop() -> Resolving:
        made = Resolving()
        made.names = {name.replace("_", "."): addresses for name, addresses in names.items()}
        return made

    async def whole() -> None:
        try:
            await main()
        finally:
            loop = running_loop()
            for server in loop.servers:
                server.close()
            for task in loop.serving:
                task.cancel()
            await asyncio.gather(*loop.serving)
            await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(whole())


def running_loop() -> Resolving:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Resolving)
    return loop


async def listen(serve: Callable[..., Awaitable[object]], tls: ssl.SSLContext | None = None) -> asyncio.Server:
    loop = running_loop()

    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop.serving.add(asyncio.current_task())
        with suppress(OSError, EOFError, asyncio.CancelledError, ExceptionGroup):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(handled, "127.0.0.1", 0, ssl=tls)
    loop.servers.append(server)
    return server


@dataclass
class Certificates:
    """A certificate authority of this test run, and a server's certificate that it signed for `NAME`."""

    authority: Path
    server: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server, self.key)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl here to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")

    def make(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    make("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test authority")
    make("req", *curve, "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={NAME}")
    (folder / "names").write_text(f"subjectAltName=DNS:{NAME}")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    make("x509", "-req", "-in", "server.csr", *signed, "-out", "server.pem")
    return Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")


@pytest.fixture
def trusted(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    """The system's roots are the test authority alone."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    monkeypatch.setenv("SSL_CERT_DIR", str(certificates.authority.parent / "none"))
    return certificates


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@dataclass
class Service:
    """A TLS service that answers every request, and remembers what the handshake agreed on."""

    server: asyncio.Server
    protocols: list[str | None] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.server.sockets[0].getsockname()[1]


async def start_service(tls: ssl.SSLContext | None) -> Service:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if tls is not None:
            service.protocols.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        while True:
            service.requests.append(await reader.readuntil(b"\r\n\r\n{}"))
            writer.write(OK)

    service = Service(await listen(serve, tls))
    return service


@dataclass
class ConnectProxy:
    """A proxy that tunnels `CONNECT` to loopback, whatever the name, or answers with `refusal`."""

    target_port: int
    refusal: bytes | None = None
    hangs_up: bool = False
    heads: list[bytes] = field(default_factory=list)

    async def start(self) -> Proxy:
        server = await listen(self._serve)
        return Proxy("127.0.0.1", server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        if self.refusal is not None:
            writer.write(self.refusal)
        if self.refusal is not None or self.hangs_up:
            return
        there, away = await asyncio.open_connection("127.0.0.1", self.target_port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(pump(reader, away), pump(there, writer))
        finally:
            away.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


async def ask(pool: Pool, connect_s: float = 5.0) -> bytes:
    head = b"POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
    exchange = await pool.send(head, connect_s, monotonic() + 5.0, "its answer")
    try:
        return await exchange.body()
    finally:
        exchange.release()


# TLS


def test_a_service_that_proves_its_name_is_asked_over_http_1_1(trusted: Certificates) -> None:
    async def main() -> None:
        service = await start_service(trusted.server_context())
        origin = Origin("https", NAME, service.port, allow_private_network=True)
        pool = Pool(dialer_for(origin))
        assert await ask(pool) == b"{}"
        assert await ask(pool) == b"{}"
        assert service.protocols == ["http/1.1"]
        pool.close()

    run(main, models_example=["127.0.0.1"])


@pytest.mark.parametrize("way", ["direct", "tunnel"])
def test_a_service_that_nobody_vouches_for_is_refused(certificates: Certificates, way: str) -> None:
    async def main() -> None:
        service = await start_service(certificates.server_context())
        origin = Origin("https", NAME, service.port, allow_private_network=True)
        pool = Pool(await dialer(way, origin, service.port))
        for _ in range(3):
            with pytest.raises(Unavailable) as refused:
                await ask(pool)
            assert refused.value.reason == "tls"
        assert service.requests == []
        await asyncio.sleep(0.05)
        assert len(pool._open) == 0

    run(main, models_example=["127.0.0.1"])


@pytest.mark.parametrize("way", ["direct", "tunnel"])
def test_a_certificate_for_another_name_is_refused(trusted: Certificates, way: str) -> None:
    async def main() -> None:
        service = await start_service(trusted.server_context())
        origin = Origin("https", "other.example", service.port, allow_private_network=True)
        with pytest.raises(Unavailable) as refused:
            await ask(Pool(await dialer(way, origin, service.port)))
        assert refused.value.reason == "tls"
        assert service.requests == []

    run(main, other_example=["127.0.0.1"])


def test_plain_http_on_a_tls_port_is_unavailable(trusted: Certificates) -> None:
    async def main() -> None:
        service = await start_service(None)
        origin = Origin("https", NAME, service.port, allow_private_network=True)
        with pytest.raises(AppError) as refused:
            await ask(Pool(dialer_for(origin)), connect_s=0.5)
        assert isinstance(refused.value, Unavailable | Timeout)

    run(main, models_example=["127.0.0.1"])


async def dialer(way: str, origin: Origin, port: int) -> DirectDialer | TunnelDialer:
    tls = ssl.create_default_context()
    if way == "direct":
        return DirectDialer(origin, tls)
    return TunnelDialer(origin, await ConnectProxy(port).start(), tls)


# HTTPS_PROXY


def test_a_tls_service_is_reached_through_a_tunnel(trusted: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        service = await start_service(trusted.server_context())
        proxy = ConnectProxy(service.port)
        port = (await proxy.start()).port
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ss@127.0.0.1:{port}")
        origin = Origin("https", NAME, 443)  # resolved by the proxy alone
        pool = Pool(dialer_for(origin))
        assert await ask(pool) == b"{}"
        assert await ask(pool) == b"{}"
        [head] = proxy.heads
        lines = head.decode().split("\r\n")
        assert lines[0] == f"CONNECT {NAME}:443 HTTP/1.1"
        assert f"Host: {NAME}:443" in lines
        assert f"Proxy-Authorization: Basic {base64.b64encode(b'user:p@ss').decode()}" in lines
        assert b"Proxy-Authorization" not in b"".join(service.requests)
        assert service.protocols in (["http/1.1"], [None])
        pool.close()

    run(main)


@pytest.mark.parametrize(
    "refusal",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>",
        b"HTTP/1.1 200\r\nhalf a head",
        b"\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"x" * 40_000,
        b"",
    ],
    ids=["407", "502", "half a head", "blank", "nonsense", "endless", "nothing"],
)
def test_a_refused_tunnel_is_unavailable(refusal: bytes) -> None:
    async def main() -> None:
        proxy = await ConnectProxy(1, refusal=refusal).start()
        pool = Pool(TunnelDialer(Origin("https", NAME, 443), proxy, ssl.create_default_context()))
        with pytest.raises(Unavailable):
            await ask(pool)
        await asyncio.sleep(0.02)
        assert len(pool._open) == 0

    run(main)


def test_a_proxy_that_hangs_up_is_unavailable() -> None:
    async def main() -> None:
        proxy = await ConnectProxy(1, hangs_up=True).start()
        with pytest.raises(Unavailable):
            await ask(Pool(TunnelDialer(Origin("https", NAME, 443), proxy, ssl.create_default_context())))

    run(main)


def test_a_proxy_that_says_nothing_is_a_timeout() -> None:
    async def main() -> None:
        silent = await listen(lambda reader, writer: asyncio.sleep(10))
        proxy = Proxy("127.0.0.1", silent.sockets[0].getsockname()[1])
        pool = Pool(TunnelDialer(Origin("https", NAME, 443), proxy, ssl.create_default_context()))
        with pytest.raises(Timeout):
            await ask(pool, connect_s=0.05)
        await asyncio.sleep(0.02)
        assert len(pool._open) == 0

    run(main)


def test_nobody_at_the_proxys_address_is_unavailable() -> None:
    async def main() -> None:
        dialer = TunnelDialer(Origin("https", NAME, 443), Proxy("127.0.0.1", 1), ssl.create_default_context())
        with pytest.raises(Unavailable):
            await ask(Pool(dialer))
        with pytest.raises(Unavailable):
            await ask(Pool(ForwardDialer(Origin("http", NAME, 80), Proxy("a..b", 1))))

    run(main)


def test_an_ipv6_origin_keeps_its_brackets() -> None:
    assert Origin("https", "2001:db8::1", 443).full_authority == "[2001:db8::1]:443"
    assert Origin("https", "2001:db8::1", 443).authority == "[2001:db8::1]"
    assert origin_of("http://[2001:db8::1]:81/v1", allow_private_network=False).authority == "[2001:db8::1]:81"


# the environment


@pytest.mark.parametrize(
    ("environment", "origin", "expected"),
    [
        ({}, Origin("https", NAME, 443), None),
        ({"HTTPS_PROXY": "http://p:3128"}, Origin("https", NAME, 443), Proxy("p", 3128)),
        ({"https_proxy": "p:3128"}, Origin("https", NAME, 443), Proxy("p", 3128)),
        ({"HTTPS_PROXY": "http://p"}, Origin("https", NAME, 443), Proxy("p", 80)),
        ({"HTTPS_PROXY": ""}, Origin("https", NAME, 443), None),
        ({"HTTP_PROXY": "http://p:1"}, Origin("https", NAME, 443), None),
        ({"HTTP_PROXY": "http://p:1"}, Origin("http", NAME, 80), Proxy("p", 1)),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": NAME}, Origin("https", NAME, 443), None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".example"}, Origin("https", NAME, 443), None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": f"{NAME}:8443"}, Origin("https", NAME, 8443), None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": f"{NAME}:8443"}, Origin("https", NAME, 443), Proxy("p", 1)),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, Origin("https", NAME, 443), None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "les.example"}, Origin("https", NAME, 443), Proxy("p", 1)),
    ],
)
def test_the_environment_names_the_proxy(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], origin: Origin, expected: Proxy | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(origin) == expected


@pytest.mark.parametrize("address", ["socks5://p:1", "https://p:1", "http://", "http://:1"])
def test_a_proxy_that_is_not_plain_http_is_refused_by_a_sentence(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises(Misconfigured):
        proxy_for(Origin("https", NAME, 443))


def test_plain_http_is_forwarded_in_the_absolute_form(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        service = await start_service(None)
        monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@127.0.0.1:{service.port}")
        origin = Origin("http", NAME, 8080)
        head = request_head(origin, "/v1/x", {"A": "b"}, proxy_for(origin))
        exchange = await Pool(dialer_for(origin)).send(head + b"2\r\n\r\n{}", 1.0, monotonic() + 5, "its answer")
        assert await exchange.body() == b"{}"
        exchange.release()
        lines = service.requests[0].decode().split("\r\n")
        assert lines[0] == f"POST http://{NAME}:8080/v1/x HTTP/1.1"
        assert lines[1] == f"Host: {NAME}:8080"
        assert f"Proxy-Authorization: Basic {base64.b64encode(b'user:secret').decode()}" in lines

    run(main)


def test_a_tunnelled_request_keeps_its_own_form() -> None:
    head = request_head(Origin("https", NAME, 443), "/v1/x", {}, Proxy("p", 1, "Basic x"))
    assert head.startswith(b"POST /v1/x HTTP/1.1\r\nHost: models.example\r\n")
    assert b"Proxy-Authorization" not in head


def test_a_request_that_goes_direct_has_the_plain_form_whatever_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The embedded model listens on loopback: no proxy forwards to it."""
    monkeypatch.setenv("HTTP_PROXY", "http://p:1")
    head = request_head(Origin("http", "127.0.0.1", 9, allow_private_network=True), "/v1/x", {})
    assert head.startswith(b"POST /v1/x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1\r\nX: y", {}),
        ("/v1\nX: y", {}),
        ("/v1", {"A": "b\r\nX: y"}),
        ("/v1", {"A": "b\nX: y"}),
        ("/v1", {"A\r\nX": "y"}),
        ("/v1", {"A": "b\0"}),
        ("/v1", {"A": "b\x7f"}),
        ("/v1", {"A": "b\x85"}),
        ("/v1", {"A": "b\u2028c"}),
        ("/v1", {"Authorization": "Bearer 密钥"}),
        ("/v1", {"A": "b\tc"}),
    ],
)
@pytest.mark.parametrize("proxy", [None, Proxy("p", 1)])
def test_what_could_start_another_line_is_refused(path: str, fields: dict[str, str], proxy: Proxy | None) -> None:
    with pytest.raises(ValueError, match="control character"):
        request_head(Origin("http", NAME, 80), path, fields, proxy)


# addresses


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fc00::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "fd00:ec2::254",
    ],
)
def test_a_name_that_leads_to_a_forbidden_address_is_refused_at_connect(address: str) -> None:
    async def main() -> None:
        pool = Pool(DirectDialer(Origin("http", NAME, 80), None))
        with pytest.raises(Misconfigured, match="private network"):
            await ask(pool)
        assert len(pool._open) == 0

    run(main, models_example=[address])


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "::ffff:169.254.169.254"]
)
def test_a_metadata_address_is_refused_even_where_private_ones_are_allowed(address: str) -> None:
    async def main() -> None:
        with pytest.raises(Misconfigured):
            await ask(Pool(DirectDialer(Origin("http", NAME, 80, allow_private_network=True), None)))

    run(main, models_example=[address])


def test_only_the_allowed_addresses_of_a_name_are_tried() -> None:
    async def main() -> None:
        service = await start_service(None)
        origin = Origin("http", NAME, service.port, allow_private_network=True)
        assert await ask(Pool(DirectDialer(origin, None))) == b"{}"

    run(main, models_example=["169.254.169.254", "127.0.0.1"])


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    async def main() -> None:
        service = await start_service(None)
        origin = Origin("http", NAME, service.port, allow_private_network=True)
        assert await ask(Pool(DirectDialer(origin, None))) == b"{}"
        assert await ask(Pool(DirectDialer(origin, None), WireLimits(connections=1))) == b"{}"

    run(main, models_example=["127.0.0.2", "127.0.0.1"])


def test_a_name_that_changes_its_mind_is_asked_again() -> None:
    """DNS rebinding: what was public at the first connection may be private at the second."""

    async def main() -> None:
        service = await start_service(None)
        origin = Origin("http", NAME, service.port, allow_private_network=True)
        pool = Pool(DirectDialer(origin, None), WireLimits(keep_alive_s=0))
        assert await ask(pool) == b"{}"
        running_loop().names = {NAME: ["169.254.169.254"]}
        with pytest.raises(Misconfigured):
            await ask(pool)
        assert len(service.requests) == 1
        pool.close()

    run(main, models_example=["127.0.0.1"])


def test_a_name_that_nobody_knows_is_unavailable() -> None:
    class Forgetful(Resolving):
        async def getaddrinfo(self, host, port, **options):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

    async def main() -> None:
        with pytest.raises(Unavailable):
            await ask(Pool(DirectDialer(Origin("http", NAME, 80), None)))

    with asyncio.Runner(loop_factory=Forgetful) as runner:
        runner.run(main())


def test_connections_are_counted_whatever_becomes_of_them() -> None:
    async def main() -> None:
        service = await start_service(None)
        pool = Pool(
            DirectDialer(Origin("http", "127.0.0.1", service.port, allow_private_network=True), None),
            WireLimits(connections=2),
        )
        first = await pool.send(b"POST ", 1.0, monotonic() + 5, "its answer")
        second = await pool.send(b"POST ", 1.0, monotonic() + 5, "its answer")
        with pytest.raises(Unavailable) as refused:
            await ask(pool)
        assert refused.value.reason == "connections"
        first.release()
        second.release()
        await asyncio.sleep(0.02)
        for _ in range(20):  # cancelled at every moment of connecting
            task = asyncio.ensure_future(ask(pool))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.02)
        assert len(pool._open) == 0
        assert await ask(pool) == b"{}"
        pool.close()

    run(main)
