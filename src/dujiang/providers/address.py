"""Which addresses a provider may have: what is refused by its looks, before anything is resolved or connected to."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_network
from urllib.parse import SplitResult, urlsplit

Address = IPv4Address | IPv6Address

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")

_METADATA_NAMES = frozenset(
    {
        "instance-data",
        "instance-data.ec2.internal",
        "metadata",
        "metadata.azure.internal",
        "metadata.goog",
        "metadata.google.internal",
        "metadata.packet.net",
        "metadata.platformequinix.com",
        "metadata.tencentyun.com",
        "rancher-metadata",
    }
)
_METADATA_NETWORKS = (
    ip_network("169.254.0.0/16"),  # AWS, Azure, Google, Tencent and most others
    ip_network("100.100.100.200/32"),  # Alibaba
    ip_network("168.63.129.16/32"),  # Azure's host, an address that counts as public
    ip_network("192.0.0.192/32"),  # Oracle
    ip_network("fd00:ec2::/32"),  # AWS
)
_OTHER_NETWORKS = (  # that lead nowhere public, and that some releases of Python take for global
    ip_network("192.0.0.0/24"),  # protocol assignments, RFC 6890
    ip_network("192.88.99.0/24"),  # relays of 6to4, RFC 7526
    ip_network("64:ff9b:1::/48"),  # a network's own NAT64, RFC 8215: what it leads to cannot be read from it
    ip_network("::ffff:0:0:0/96"),  # translated IPv4, RFC 2765
    ip_network("100::/64"),  # discarded, RFC 6666
    ip_network("2001:db8::/32"),  # documentation, RFC 3849
    ip_network("3fff::/20"),  # documentation, RFC 9637
    ip_network("5f00::/16"),  # segment routing, RFC 9602
)
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
_NAT64 = ip_network("64:ff9b::/96")


def split_url(url: str) -> SplitResult:
    """The parts of an address that is plainly http(s) to a host.

    Raises `ValueError`, whose text never holds the address, for other schemes, user names and passwords, characters
    that readers of addresses disagree about, disguised IP addresses, and the hosts that hand out a cloud's credentials.
    """
    if not url.isascii() or not url.isprintable() or any(mark in url for mark in ' \\"<>^`{|}'):
        raise ValueError("must consist of plain ASCII characters; write an international name in its `xn--` form")
    parts = _split(url)
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must start with `http://` or `https://`")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password")
    _check_port(parts)
    _refuse_metadata(parts.hostname or "", is_bracketed="[" in parts.netloc)
    return parts


def host_of(parts: SplitResult) -> str:
    """The host of what `split_url` took, in the one form that every spelling of it has; brackets around IPv6."""
    host = parts.hostname or ""
    return f"[{IPv6Address(host)}]" if ":" in host else host


def check_base_url(url: str) -> None:
    """Raises `ValueError` unless `url` can be a provider's base: what `split_url` takes, without query or fragment."""
    split_url(url)
    if "?" in url or "#" in url:
        raise ValueError("must not hold a query or a fragment")


def refuse_address(url: str) -> None:
    """Raises `ValueError` for a base URL that is malformed, or whose host is literally in a forbidden range.

    A name may still resolve to one: whoever connects asks `is_forbidden` again.
    """
    check_base_url(url)
    refuse_host(urlsplit(url).hostname or "", may_be_private=False)


def refuse_host(host: str, *, may_be_private: bool) -> None:
    """Raises `ValueError` for a host, without brackets, that by its looks alone is one of metadata, no proper host, or
    in a private network where it may not be.
    """
    address = _refuse_metadata(host, is_bracketed=":" in host)
    is_loopback = host in _LOOPBACK_NAMES or host.endswith(".localhost")
    if not may_be_private and (is_loopback or (address is not None and is_forbidden(address))):
        raise ValueError("is in a private network; if that is meant, set `allow_private_network: true`")


def is_name(host: str) -> bool:
    """Whether a host, without brackets, has to be resolved."""
    return ":" not in host and not _NUMBER.fullmatch(host.rpartition(".")[2])


def is_forbidden(address: Address) -> bool:
    """Whether an address leads anywhere but to the public internet; what is wrapped in IPv6 is unwrapped first."""
    inner = _unwrapped(address)
    if inner.is_multicast or inner.is_reserved or inner.is_unspecified or is_metadata(inner):
        return True
    if isinstance(inner, IPv6Address) and inner.is_site_local:
        return True
    return not inner.is_global or any(inner in network for network in _OTHER_NETWORKS)


def is_metadata(address: Address) -> bool:
    """Whether a cloud may answer there with its credentials: never a provider, not even in a private network."""
    inner = _unwrapped(address)
    return any(inner in network for network in _METADATA_NETWORKS)


def _unwrapped(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)


def _refuse_metadata(host: str, *, is_bracketed: bool) -> Address | None:
    """The IP address that a host spells out, None for a name."""
    address = _literal(host, is_bracketed=is_bracketed)
    if host in _METADATA_NAMES or (address is not None and is_metadata(address)):
        raise ValueError("is the address of a cloud's metadata service")
    return address


def _literal(host: str, *, is_bracketed: bool) -> Address | None:
    """The IP address that a host spells out, None for a name. Raises `ValueError` for what is properly neither."""
    if is_bracketed:
        if "%" in host:
            raise ValueError("must not hold an interface's name")
        try:
            return IPv6Address(host)
        except ValueError:
            raise ValueError("must hold a proper IPv6 address between its brackets") from None
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise ValueError("must hold a plain host name")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        try:
            return IPv4Address(host)
        except ValueError:
            raise ValueError("must spell an IP address as four decimal numbers") from None
    return None


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError("must be a proper URL") from None


def _check_port(parts: SplitResult) -> None:
    try:
        is_sound = parts.port != 0
    except ValueError:
        is_sound = False
    if not is_sound or parts.netloc.endswith(":"):
        raise ValueError("must hold a port between 1 and 65535, or none")
