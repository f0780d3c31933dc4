"""SSRF at connect: what is connected to is what was judged, whatever the name says before or after."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from time import monotonic

import pytest

from dujiang.config.loader import read_document
from dujiang.config.reach import reach_findings
from dujiang.core.errors import Misconfigured, Unavailable
from dujiang.providers.connect import DirectDialer, ForwardDialer, Origin, Proxy, TunnelDialer, origin_of
from dujiang.providers.http import Pool, WireLimits
from dujiang.providers.local import Embedded
from dujiang.providers.resolve import MAX_ADDRESSES, SystemResolver

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
REQUEST = b"POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"

DISGUISES = [
    "http://2130706433",
    "http://0x7f000001",
    "http://0x7f.1",
    "http://0177.0.0.1",
    "http://017700000001",
    "http://127.1",
    "http://0",
    "http://127.0.0.1",
    "http://127.0.0.1.",
    "http://localhost",
    "http://localhost.",
    "http://LOCALHOST",
    "http://x.localhost",
    "http://[::1]",
    "http://[::ffff:127.0.0.1]",
    "http://[::ffff:7f00:1]",
    "http://[64:ff9b::7f00:1]",
    "http://[2002:7f00:1::]",
    "http://8.8.8.8@127.0.0.1",
    "http://user:pass@localhost",
    "http://metadata.google.internal",
    "http://169.254.169.254",
]


class StubResolver:
    """Gives one set of addresses after another; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(self, host, port):
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return tuple(map(ip_address, answer))


class NamelessLoop(asyncio.SelectorEventLoop):
    """Nobody may ask it for a name's address."""

    async def getaddrinfo(self, host, port, **options):
        raise AssertionError("a name was resolved behind the dialer's back")


class Service:
    """A loopback service, and how many have connected to it."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n{}"):
                writer.write(OK)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[Service]:
    service = Service()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.port = server.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        server.close()
        await asyncio.sleep(0.01)


def run(main: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=NamelessLoop) as runner:
        runner.run(main())


async def ask(pool: Pool) -> bytes:
    exchange = await pool.send(REQUEST, 5.0, monotonic() + 5.0, "its answer")
    try:
        return await exchange.body()
    finally:
        exchange.release()
        pool.close()


def dialers(origin: Origin, proxy_port: int) -> dict[str, DirectDialer | ForwardDialer | TunnelDialer]:
    tls, proxy = ssl.create_default_context(), Proxy("127.0.0.1", proxy_port)
    return {
        "direct": DirectDialer(origin, None),
        "direct with tls": DirectDialer(origin, tls),
        "forwarded": ForwardDialer(origin, proxy),
        "tunnelled": TunnelDialer(origin, proxy, tls),
    }


@pytest.mark.parametrize("url", DISGUISES)
@pytest.mark.parametrize("way", ["direct", "direct with tls", "forwarded", "tunnelled"])
def test_a_disguised_address_is_refused_before_anybody_is_connected_to(url: str, way: str) -> None:
    """With the system's own resolver, which reads most of these as loopback; through a proxy, by its looks."""

    async def main() -> None:
        async with listening() as service:
            origin = origin_of(f"{url}:{service.port}", allow_private_network=False)
            with pytest.raises(Misconfigured):
                await ask(Pool(dialers(origin, service.port)[way]))
            assert service.connections == 0

    asyncio.run(main())


@pytest.mark.parametrize("host", ["metadata.google.internal", "metadata", "169.254.169.254", "fd00:ec2::254"])
@pytest.mark.parametrize("way", ["direct", "forwarded", "tunnelled"])
def test_metadata_is_refused_on_every_way_even_where_private_networks_are_allowed(host: str, way: str) -> None:
    async def main() -> None:
        async with listening() as service:
            origin = Origin("http", host, 80, allow_private_network=True)
            with pytest.raises(Misconfigured, match="metadata"):
                await ask(Pool(dialers(origin, service.port)[way]))
            assert service.connections == 0

    run(main)


def test_a_name_that_was_public_when_saved_and_is_private_now_is_refused() -> None:
    """Rebinding: the very answer that an attacker's name server changes after the document was accepted."""

    async def main() -> None:
        async with listening() as service:
            url = f"http://rebinding.example:{service.port}"
            resolver = StubResolver(["8.8.8.8"], ["127.0.0.1"])
            document = read_document(f"providers: {{p: {{kind: openai, base_url: '{url}'}}}}".encode())
            found = await reach_findings(document, str, resolver)
            assert (found.problems, found.warnings) == ((), ())
            origin = origin_of(url, allow_private_network=False)
            with pytest.raises(Misconfigured, match="private network"):
                await ask(Pool(DirectDialer(origin, None, resolver)))
            assert (service.connections, resolver.asked) == (0, 2)

    run(main)


def test_the_address_that_was_judged_is_the_one_that_is_connected_to() -> None:
    """One look-up for a connection: the second answer, which would be refused, is never asked for."""

    async def main() -> None:
        async with listening() as service:
            resolver = StubResolver(["127.0.0.1"], ["169.254.169.254"])
            origin = Origin("http", "models.example", service.port, allow_private_network=True)
            pool = Pool(DirectDialer(origin, None, resolver), WireLimits(keep_alive_s=0))
            assert await ask(pool) == b"{}"
            assert resolver.asked == 1
            with pytest.raises(Misconfigured, match="metadata"):
                await ask(pool)
            assert (service.connections, resolver.asked) == (1, 2)

    run(main)


def test_of_several_addresses_only_the_allowed_are_tried() -> None:
    async def main() -> None:
        async with listening() as service:
            resolver = StubResolver(["169.254.169.254", "fd00:ec2::254", "127.0.0.1"])
            origin = Origin("http", "models.example", service.port, allow_private_network=True)
            assert await ask(Pool(DirectDialer(origin, None, resolver))) == b"{}"
            public = Origin("http", "models.example", service.port)
            with pytest.raises(Misconfigured):
                await ask(Pool(DirectDialer(public, None, resolver)))
            assert service.connections == 1

    run(main)


def test_a_name_without_an_address_is_unavailable() -> None:
    async def main() -> None:
        with pytest.raises(Unavailable):
            await ask(Pool(DirectDialer(Origin("http", "models.example", 80), None, StubResolver([]))))

    run(main)


def test_the_system_is_asked_once_for_a_name_and_few_of_its_addresses_are_taken() -> None:
    class Generous(asyncio.SelectorEventLoop):
        async def getaddrinfo(self, host, port, **options):
            numbers = [1, 1, *range(1, 100)]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"8.8.8.{n}", port)) for n in numbers]

    with asyncio.Runner(loop_factory=Generous) as runner:
        found = runner.run(SystemResolver().resolve("models.example", 443))
    assert found == tuple(ip_address(f"8.8.8.{n}") for n in range(1, MAX_ADDRESSES + 1))


def test_the_embedded_model_is_reached_on_loopback_without_any_name() -> None:
    async def main() -> None:
        async with listening() as service:
            embedded = Embedded(service.port, "key", "model")
            assert embedded.origin.host == "127.0.0.1"
            resolver = StubResolver(["127.0.0.1"])
            assert await ask(Pool(DirectDialer(embedded.origin, None, resolver))) == b"{}"

    run(main)
