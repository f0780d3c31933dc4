"""Addresses of peers: which networks they are in, and who they are behind proxies that are trusted."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from dujiang.core.errors import InvalidRequest

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_LONGEST = 45  # characters of an IPv6 address that ends with an IPv4 one
_MAPPED_BITS = 96
_MAPPED = IPv6Network("::ffff:0:0/96")


def read_network(text: str) -> Network:
    """An address or a CIDR. IPv4 written as IPv6 is IPv4. Raises `ValueError`."""
    if "%" in text or text != text.strip():
        raise ValueError("an address without a zone is expected")
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        return ip_network((int(mapped or 0), network.prefixlen - _MAPPED_BITS))
    return network


def read_address(text: str) -> Address:
    """As `read_network`, for one address. Raises `ValueError`."""
    if len(text) > _LONGEST or "%" in text:
        raise ValueError("an address without a zone is expected")
    address = ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def is_within(inner: Network, outer: Network) -> bool:
    """Whether every address of one network is in another."""
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network):
        return inner.subnet_of(outer)
    return False


def peer_of(socket: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> Address:
    """Who asks. `socket` is the other end of the connection, `forwarded` the values of `X-Forwarded-For` in their
    order; nothing in them counts unless a trusted proxy sent them.

    Proxies append whom they got a request from: the peer is the rightmost entry that is no trusted proxy, the leftmost
    where all are. Raises `InvalidRequest` for an entry that is no address, and `ValueError` for such a `socket`.
    """
    address = read_address(socket.partition("%")[0])
    if not forwarded or not is_in(address, trusted):
        return address
    for each in reversed(_entries(forwarded)):
        address = each
        if not is_in(each, trusted):
            break
    return address


def _entries(forwarded: Sequence[str]) -> list[Address]:
    try:
        return [read_address(entry.strip(" \t")) for entry in ",".join(forwarded).split(",")]
    except ValueError:
        raise InvalidRequest(
            "X-Forwarded-For must be a list of addresses.", reason="forwarded", param="X-Forwarded-For"
        ) from None
