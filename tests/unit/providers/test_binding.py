"""Which addresses are one to a secret, and which are not."""

import pytest

from dujiang.core.binding import Binding
from dujiang.providers.binding import binding_of


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("", "https://api.openai.com:443"),
        ("https://api.openai.com", "https://api.openai.com:443"),
        ("https://API.OpenAI.com:443/v2/", "https://api.openai.com:443"),
        ("HTTPS://api.openai.com/other/path", "https://api.openai.com:443"),
        ("http://api.openai.com/v1", "http://api.openai.com:80"),
        ("https://api.openai.com:8443/v1", "https://api.openai.com:8443"),
        ("https://api.openai.com.evil.example", "https://api.openai.com.evil.example:443"),
        ("http://[2606:4700:0:0:0:0:0:1111]:81", "http://[2606:4700::1111]:81"),
        ("http://[2606:4700::1111]:81/v1", "http://[2606:4700::1111]:81"),
        ("http://127.0.0.1:9000/v1", "http://127.0.0.1:9000"),
    ],
)
def test_the_origin_is_scheme_host_and_port_however_they_are_written(url, origin):
    assert binding_of("openai", url) == Binding("openai", origin)


def test_the_kind_belongs_to_it():
    assert binding_of("deepseek", "https://h.example") != binding_of("openai", "https://h.example")


def test_ernies_own_hosts_are_one_binding():
    assert binding_of("ernie", "").origin == "https://aip.baidubce.com:443 https://qianfan.baidubce.com:443"
    assert binding_of("ernie", "https://aip.baidubce.com") != binding_of("ernie", "")


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("local", ""),
        ("alerts", ""),
        ("openai", "secret:main"),
        ("openai", "https://user:pass@api.openai.com"),
        ("openai", "http://169.254.169.254"),
        ("openai", "http://2130706433"),
        ("openai", "${HOST}"),
        ("openai", "nonsense"),
    ],
)
def test_what_is_no_address_binds_nothing(kind, url):
    with pytest.raises(ValueError, match=r"."):
        binding_of(kind, url)
