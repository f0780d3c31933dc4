from ipaddress import ip_address

import pytest

from dujiang.providers.address import check_base_url, is_forbidden, is_metadata, is_name, refuse_address, refuse_host

PUBLIC = [
    "https://api.openai.com/v1",
    "https://API.OpenAI.com:8443/v1/",
    "http://8.8.8.8/v1",
    "https://[2606:4700::1111]/v1",
    "https://xn--fiq228c.example/v1",
    "https://docker_service.example",
    "https://127.example.com",
]

PRIVATE = [
    "http://localhost/v1",
    "http://LOCALHOST:9000/v1",
    "http://api.localhost/v1",
    "http://127.0.0.1/v1",
    "http://127.1.2.3",
    "http://0.0.0.0:8000",
    "http://10.0.0.1",
    "http://172.16.0.1",
    "http://192.168.1.1",
    "http://100.64.0.1",
    "http://192.0.2.1",
    "http://198.18.0.1",
    "http://224.0.0.1",
    "http://240.0.0.1",
    "http://255.255.255.255",
    "http://[::1]",
    "http://[::]",
    "http://[fe80::1]",
    "http://[fc00::1]",
    "http://[fec0::1]",
    "http://[ff02::1]",
    "http://[::ffff:127.0.0.1]",
    "http://[::ffff:7f00:1]",
    "http://[::127.0.0.1]",
    "http://[64:ff9b::7f00:1]",
    "http://[2002:7f00:1::]",
    "http://[2001:db8::1]",
    "http://[64:ff9b:1::7f00:1]",
    "http://[::ffff:0:7f00:1]",
    "http://[2002:a00:1::]",
    "http://[2001:0:53aa:64c:0:fbff:80ff:fffe]",
    "http://[100::1]",
    "http://[3fff::1]",
    "http://[5f00::1]",
    "http://192.0.0.8",
    "http://192.88.99.1",
]

MALFORMED = [
    "",
    "api.openai.com",
    "//api.openai.com",
    "ftp://api.openai.com",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_x",
    "javascript:alert(1)",
    "https://",
    "https:///v1",
    "https://user@host.example",
    "https://user:secret@host.example",
    "https://@host.example",
    "https://host.example?x=1",
    "https://host.example/#x",
    "https://host.example/?",
    "https://host.example:0",
    "https://host.example:65536",
    "https://host.example:x",
    "https://host.example:",
    "https://host.example./v1",
    "http://127.0.0.1./v1",
    "http://localhost./v1",
    "http://metadata.google.internal./v1",
    "http://8.8.8.8@127.0.0.1/v1",
    "http://127.0.0.1#@8.8.8.8/",
    "http://127.0.0.1\\@8.8.8.8/",
    "http://017700000001",
    "http://0",
    "http://127.0.0.1%00.example",
    "http://①②⑦.⓪.⓪.①",
    "https://.host.example",
    "https://host..example",
    "https://-host.example",
    "https://host example",
    "https://host\\@evil.example",
    "https://host.example\r\nX: 1",
    "https://host.example\t",
    " https://host.example",
    "https://ｌocalhost",
    "https://127。0。0。1",
    "https://例子.example",
    "https://%6cocalhost",
    "https://" + "a" * 64 + ".example",
    "https://" + "a." * 130 + "example",
    "http://2130706433",
    "http://0x7f000001",
    "http://0x7f.1",
    "http://0177.0.0.1",
    "http://127.1",
    "http://127.0.0.01",
    "http://1.2.3.4.5",
    "http://256.1.1.1",
    "http://x.0x10",
    "http://[::1",
    "http://[::1%eth0]",
    "http://[fe80::1%25eth0]",
    "http://[1.2.3.4]",
    "http://[v1.x]",
]

METADATA = [
    "http://169.254.169.254/latest",
    "http://169.254.170.2",
    "http://100.100.100.200",
    "http://168.63.129.16",
    "http://192.0.0.192",
    "http://metadata.google.internal/computeMetadata/v1",
    "http://METADATA.goog",
    "http://metadata",
    "http://instance-data",
    "http://metadata.tencentyun.com",
    "http://[fd00:ec2::254]",
    "http://[::ffff:169.254.169.254]",
    "http://[64:ff9b::a9fe:a9fe]",
    "http://[2002:a9fe:a9fe::]",
    "http://[::ffff:a9fe:a9fe]",
]


@pytest.mark.parametrize("url", PUBLIC)
def test_takes_public_addresses(url):
    refuse_address(url)


@pytest.mark.parametrize("url", PRIVATE)
def test_refuses_private_addresses_unless_they_are_allowed(url):
    with pytest.raises(ValueError, match="private network"):
        refuse_address(url)
    check_base_url(url)


@pytest.mark.parametrize("url", MALFORMED + METADATA)
@pytest.mark.parametrize("check", [refuse_address, check_base_url])
def test_refuses_disguises_and_metadata_in_any_case(check, url):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - every message is right here
        check(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_the_public_internet_is_not_forbidden(address):
    assert not is_forbidden(ip_address(address))


@pytest.mark.parametrize("address", ["169.254.169.254", "::ffff:169.254.169.254", "100.100.100.200", "fd00:ec2::254"])
def test_metadata_is_recognised_after_resolving(address):
    assert is_metadata(ip_address(address))
    assert is_forbidden(ip_address(address))


def test_private_addresses_are_not_metadata():
    assert not is_metadata(ip_address("127.0.0.1"))
    assert not is_metadata(ip_address("10.0.0.1"))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "localhost", "a.localhost", "2130706433", "0x7f.1", "127.1", "a..b"]
)
def test_a_host_is_refused_by_its_looks(host):
    with pytest.raises(ValueError, match=r"private network|four decimal numbers|plain host name"):
        refuse_host(host, may_be_private=False)


@pytest.mark.parametrize("host", ["metadata", "metadata.google.internal", "169.254.169.254", "fd00:ec2::254"])
def test_a_metadata_host_is_refused_wherever_it_may_be(host):
    with pytest.raises(ValueError, match="metadata"):
        refuse_host(host, may_be_private=True)
    refuse_host("127.0.0.1", may_be_private=True)
    refuse_host("api.openai.com", may_be_private=False)


def test_names_are_told_from_numbers():
    assert is_name("api.openai.com")
    assert is_name("127.example")
    assert not any(is_name(host) for host in ("8.8.8.8", "::1", "2130706433", "0x7f000001"))
