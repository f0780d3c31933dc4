"""Which store it is."""

from dujiang.storage.memory import MemoryStore
from dujiang.storage.redis.address import read_address
from dujiang.storage.redis.leases import LEASE_S
from dujiang.storage.redis.store import RedisStore
from dujiang.storage.store import Store


def open_store(url: str | None, *, lease_s: float = LEASE_S) -> Store:
    """Memory for one process where there is no address, else Redis or Valkey at `redis://…`, `rediss://…` or `unix://…`.

    Called on a running event loop; nothing is waited for, and a server that is away is no error. What a process held
    in Redis comes back `lease_s` after it is gone. Raises `Misconfigured` for what is no address.
    """
    return MemoryStore() if url is None else RedisStore(read_address(url), lease_s=lease_s)
