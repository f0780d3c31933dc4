"""What this process holds in the server. A lease ends by itself unless it is renewed, so that a process that is gone
gives back what it held.
"""

from itertools import chain
from typing import Final, Literal, NamedTuple

from dujiang.storage.redis.link import Link, is_done
from dujiang.storage.redis.scripts import RENEW

LEASE_S: Final = 30.0
RENEWALS: Final = 3
"""So many in a lease's length: two may fail."""

_BATCH = 500


class Lease(NamedTuple):
    """A member of a sorted set of the server's."""

    key: str
    member: str
    kind: Literal["calls", "money"]


class Leases:
    """The open leases, by the name of the permit or reservation that holds them."""

    def __init__(self, process: str, lease_ms: int) -> None:
        self._process = process
        self._made = 0
        self._open: dict[str, tuple[Lease, ...]] = {}
        self.lease_ms = lease_ms

    def new_name(self) -> str:
        self._made += 1
        return f"{self._process}-{self._made}"

    def take(self, name: str, leases: tuple[Lease, ...]) -> None:
        if leases:
            self._open[name] = leases

    def end(self, name: str) -> tuple[Lease, ...]:
        return self._open.pop(name, ())

    async def renew(self, link: Link) -> None:
        """All of them, a few hundred at a time. Raises `StoreAway`.

        What ends meanwhile is not renewed later than it is given back: commands keep their order.
        """
        names = list(self._open)
        for start in range(0, len(names), _BATCH):
            found = chain.from_iterable(self._open.get(name, ()) for name in names[start : start + _BATCH])
            leases = list(found)
            if leases:
                words = chain.from_iterable((lease.member, lease.kind) for lease in leases)
                await link.run(RENEW, [lease.key for lease in leases], [self.lease_ms, *words], is_done)
