"""Who asks: whatever stands in `X-Forwarded-For`, only trusted proxies are believed."""

from ipaddress import IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.core.addresses import is_in, is_within, peer_of, read_address, read_network
from dujiang.core.errors import InvalidRequest

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))

addresses = st.ip_addresses().map(str)
inside = st.ip_addresses(network="10.0.0.0/8").map(str) | st.ip_addresses(network="fd00::/8").map(str)
outside = addresses.filter(lambda text: not is_in(read_address(text), PROXIES))
noise = st.text(alphabet="0123456789abcdef.:[]%/ ,-xg", max_size=30) | st.text(max_size=20)


@given(outside, st.lists(noise | addresses, max_size=3))
def test_a_peer_that_is_no_proxy_is_itself(socket, forwarded):
    assert peer_of(socket, forwarded, PROXIES) == read_address(socket)


@given(addresses, st.lists(noise | addresses, max_size=3))
def test_without_trusted_proxies_nothing_is_believed(socket, forwarded):
    assert peer_of(socket, forwarded, ()) == read_address(socket)


@given(inside, st.lists(addresses, max_size=4), outside, st.lists(inside, max_size=3), st.integers(0, 8))
def test_the_rightmost_that_is_no_proxy_is_the_peer(socket, said, peer, proxies, cut):
    entries = [*said, peer, *proxies]
    values = [", ".join(entries[:cut]), ",".join(entries[cut:])]
    assert peer_of(socket, [value for value in values if value], PROXIES) == read_address(peer)


@given(inside, st.lists(inside, min_size=1, max_size=4))
def test_where_all_are_proxies_the_first_is_the_peer(socket, entries):
    assert peer_of(socket, [",".join(entries)], PROXIES) == read_address(entries[0])


@given(inside, st.lists(addresses, max_size=2), noise, st.lists(addresses, max_size=2))
def test_what_is_no_address_is_refused_wherever_it_stands(socket, before, bad, after):
    entries = [*before, bad, *after]
    try:
        for each in ",".join(entries).split(","):
            read_address(each.strip(" \t"))
    except ValueError:
        with pytest.raises(InvalidRequest) as caught:
            peer_of(socket, [",".join(entries)], PROXIES)
        assert caught.value.param == "X-Forwarded-For"


@given(st.ip_addresses(v=4))
def test_ipv4_in_ipv6_is_ipv4(address):
    mapped = str(IPv6Address(f"::ffff:{address}"))
    assert read_address(mapped) == address
    assert read_network(mapped) == ip_network(address)
    assert is_in(read_address(mapped), [ip_network(address)])


@pytest.mark.parametrize(
    "text", ["", "1.2.3.4:80", "[::1]", "[::1]:80", "fe80::1%eth0", "1.2.3", "01.2.3.4", "unknown", "1.2.3.4\n"]
)
def test_no_address(text):
    with pytest.raises(ValueError, match=r"."):
        read_address(text)


@pytest.mark.parametrize(
    "text", ["", "10.0.0.1/8", "10.0.0.0/33", " 10.0.0.0/8", "fe80::1%eth0", "::/129", "host", "*"]
)
def test_no_network(text):
    with pytest.raises(ValueError, match=r"."):
        read_network(text)


@given(addresses, st.integers(0, 32), addresses, st.integers(0, 32))
def test_a_network_within_another_has_no_address_outside_it(one, one_bits, other, other_bits):
    inner, outer = (ip_network(f"{text}/{bits}", strict=False) for text, bits in ((one, one_bits), (other, other_bits)))
    ends = [
        ip_address(int(inner.network_address)) if inner.version == 4 else inner.network_address,
        inner.broadcast_address,
    ]
    assert is_within(inner, outer) == all(end in outer for end in ends)
