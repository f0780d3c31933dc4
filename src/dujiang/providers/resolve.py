"""From a host's name to its addresses."""

import asyncio
import socket
from ipaddress import ip_address
from typing import Protocol

from dujiang.providers.address import Address

MAX_ADDRESSES = 16
"""Of one name. A service has a few; more would only make a failing connection take longer."""


class Resolver(Protocol):
    """Raises `OSError` or `UnicodeError` for a name that leads nowhere."""

    async def resolve(self, host: str, port: int) -> tuple[Address, ...]: ...


class SystemResolver:
    """The system's own: `hosts` files, search domains and name servers, asked in a thread."""

    async def resolve(self, host: str, port: int) -> tuple[Address, ...]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = dict.fromkeys(ip_address(str(info[4][0])) for info in found)
        return tuple(addresses)[:MAX_ADDRESSES]
