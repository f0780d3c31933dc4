"""One POST to an address that an operator chose."""

import asyncio
import socket

import pytest
from receiver import receiving

from dujiang.core.errors import Misconfigured, Timeout, Unavailable
from dujiang.providers.webhook import post


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def sent(url: str, *, may_be_private: bool = True, timeout_s: float = 10.0) -> int:
    return asyncio.run(post(url, {"X-One": "1"}, b"{}", allow_private_network=may_be_private, timeout_s=timeout_s))


@pytest.mark.parametrize(
    ("tail", "path"), [("", "/"), ("/a/b?c=d&e", "/a/b?c=d&e"), ("?c=d", "/?c=d"), ("/a%20b", "/a%20b")]
)
def test_what_is_sent_arrives_at_the_whole_address(tail, path):
    with receiving() as inbox:
        assert sent(inbox.url + tail) == 204
        [message] = inbox.messages
    assert (message.path, message.body, message.headers["x-one"]) == (path, b"{}", "1")


def test_a_redirect_is_not_followed():
    with receiving() as inbox:
        inbox.answers.append(307)
        assert sent(f"{inbox.url}/first") == 307
        assert [message.path for message in inbox.messages] == ["/first"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3"])
def test_nothing_is_sent_into_the_private_network_unless_that_is_meant(host):
    with pytest.raises(Misconfigured):
        sent(f"http://{host}:9/", may_be_private=False)


def test_nothing_is_ever_sent_to_a_metadata_service():
    with pytest.raises(Misconfigured):
        sent("http://169.254.169.254/latest")


def test_whoever_does_not_answer_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Timeout):
        sent(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.2)


def test_nobody_there_is_told():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unavailable):
        sent(f"http://127.0.0.1:{port}/")
