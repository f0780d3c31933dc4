"""Where names lead when a document is saved: asked of a stub resolver, and only so many for so long."""

import asyncio
from ipaddress import ip_address

import pytest

from dujiang.config.loader import read_document
from dujiang.config.reach import reach_findings


class StubResolver:
    """Answers from a table; a name that is not in it is unknown, one that leads to None never answers."""

    def __init__(self, names):
        self.names = names
        self.asked = []
        self.running = self.most_running = 0

    async def resolve(self, host, port):
        self.asked.append((host, port))
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await asyncio.sleep(0)
            found = self.names.get(host, ())
            if found is None:
                await asyncio.Event().wait()
            if not found:
                raise OSError(host)
            return tuple(map(ip_address, found))
        finally:
            self.running -= 1


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def document(**urls):
    text = "\n".join(f"  {name}: {{kind: openai, base_url: '{url}'}}" for name, url in urls.items())
    return read_document(f"providers:\n{text}".encode())


def look(read, resolver, **options):
    found = asyncio.run(
        reach_findings(read, lambda text: text.replace("${HOST}", "models.example"), resolver, **options)
    )
    assert resolver.running == 0
    return {each.path: each.message for each in found.problems}, {each.path: each.message for each in found.warnings}


def test_a_name_that_leads_to_the_public_internet_is_fine():
    resolver = StubResolver({"models.example": ["8.8.8.8", "2606:4700::1111"]})
    assert look(document(p="https://models.example/v1", q="https://${HOST}/v2"), resolver) == ({}, {})
    assert resolver.asked == [("models.example", 443)]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"],
)
def test_a_name_that_leads_to_a_forbidden_range_is_refused_even_beside_a_public_address(address):
    resolver = StubResolver({"models.example": ["8.8.8.8", address]})
    problems, warnings = look(document(p="https://models.example/v1", q="https://models.example"), resolver)
    assert set(problems) == {"providers.p.base_url", "providers.q.base_url"}
    assert "private network" in problems["providers.p.base_url"]
    assert warnings == {}


def test_a_private_address_may_be_allowed_and_a_clouds_metadata_never():
    read = read_document(
        b"providers: {p: {kind: openai, base_url: 'http://a.example', allow_private_network: true},"
        b" q: {kind: openai, base_url: 'http://b.example', allow_private_network: true}}"
    )
    problems, warnings = look(read, StubResolver({"a.example": ["10.0.0.1"], "b.example": ["100.100.100.200"]}))
    assert list(problems) == ["providers.q.base_url"]
    assert "metadata" in problems["providers.q.base_url"]
    assert warnings == {}


def test_a_name_that_leads_nowhere_is_a_doubt():
    problems, warnings = look(document(p="https://nowhere.example"), StubResolver({}))
    assert problems == {}
    assert "leads nowhere" in warnings["providers.p.base_url"]


def test_who_does_not_answer_in_time_is_a_doubt_and_holds_nobody_up():
    resolver = StubResolver({"slow.example": None, "bad.example": ["10.0.0.1"], "good.example": ["8.8.8.8"]})
    read = document(a="http://slow.example", b="http://bad.example", c="http://good.example")
    problems, warnings = look(read, resolver, timeout_s=0.05)
    assert set(problems) == {"providers.b.base_url"}
    assert set(warnings) == {"providers.a.base_url"}
    assert "not looked up in time" in warnings["providers.a.base_url"]


def test_no_more_names_are_asked_than_may_be_and_few_at_once():
    urls = {f"p{n}": f"http://h{n}.example" for n in range(30)}
    resolver = StubResolver({f"h{n}.example": ["8.8.8.8"] for n in range(30)})
    problems, warnings = look(document(**urls), resolver, max_names=20)
    assert len(resolver.asked) == 20
    assert resolver.most_running <= 8
    assert problems == {}
    assert list(warnings) == [f"providers.p{n}.base_url" for n in range(20, 30)]


def test_numbers_own_addresses_and_what_is_no_address_are_not_asked():
    resolver = StubResolver({})
    read = document(a="http://8.8.8.8", b="", c="http://[2606:4700::1111]", d="${NOBODY}")
    assert look(read, resolver) == ({}, {})
    assert resolver.asked == []


def test_what_a_proxy_will_resolve_is_not_asked(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example")
    resolver = StubResolver({"inside.example": ["8.8.8.8"], "plain.example": ["8.8.8.8"]})
    read = document(a="https://models.example", b="https://inside.example", c="http://plain.example")
    assert look(read, resolver) == ({}, {})
    assert sorted(host for host, _ in resolver.asked) == ["inside.example", "plain.example"]


def test_where_alerts_go_is_looked_up_too():
    resolver = StubResolver({"hooks.example": ["10.0.0.7"]})
    hook = "url: 'https://hooks.example/x?y=z', secret: s"
    problems, _ = look(read_document(f"alerts: {{{hook}}}".encode()), resolver)
    assert set(problems) == {"alerts.url"}
    meant = read_document(f"alerts: {{{hook}, allow_private_network: true}}".encode())
    assert look(meant, resolver) == ({}, {})
    assert resolver.asked == [("hooks.example", 443)] * 2


def test_alerts_never_go_to_a_metadata_service():
    resolver = StubResolver({"hooks.example": ["169.254.169.254"]})
    read = read_document(b"alerts: {url: 'https://hooks.example/', secret: s, allow_private_network: true}")
    assert set(look(read, resolver)[0]) == {"alerts.url"}
