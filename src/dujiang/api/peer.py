"""Where a request comes from, for keys that may be used from some addresses alone."""

from collections.abc import Sequence

from dujiang.api.request import Scope
from dujiang.core.addresses import Network, is_in, peer_of
from dujiang.core.call import Caller
from dujiang.core.errors import Forbidden


def require_address(caller: Caller, scope: Scope, trusted: Sequence[Network]) -> None:
    """Raises `Forbidden` for a peer in none of the key's networks, and `InvalidRequest` as `peer_of`."""
    forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    try:
        address = peer_of(scope["client"][0], forwarded, trusted)
    except (ValueError, TypeError):
        address = None
    if address is None or not is_in(address, caller.networks):
        raise Forbidden("This key may not be used from this address.", reason="address")
