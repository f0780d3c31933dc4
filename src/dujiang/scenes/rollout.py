"""Which version of a label a user gets, when several share its calls by weight.

Weighted rendezvous hashing (Thaler & Ravishankar 1998; weights by Schindelhauer & Schomaker 2005): each version draws a
number from its own hash of the user, of exponential distribution with its weight as the rate, and the smallest wins. So
the shares are those of the weights, a user always gets the same version, and a weight that grows takes users from the
others without moving any between them.
"""

from collections.abc import Mapping
from hashlib import blake2b
from math import log1p
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

T = TypeVar("T")

_DIGEST_BYTES = 8
_TO_UNIFORM = (1 - 2.0**-53) / 2.0 ** (8 * _DIGEST_BYTES)
"""From a digest to a number of at least 0 and less than 1."""


class _Hash(Protocol):
    def copy(self) -> "_Hash": ...

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class Share(Struct, Generic[T], frozen=True):
    """A version, its weight, and a hash that has taken in the scene, the label and the version's number."""

    version: T
    weight: float
    salt: _Hash


class Rollout(Struct, Generic[T], frozen=True):
    """The versions that share a label."""

    shares: tuple[Share[T], ...]

    def version_for(self, user: str) -> T:
        """The version of a user: the same in every process, at every time, as long as the weights are."""
        data = user.encode("utf-8", "surrogatepass")
        first, *others = self.shares
        chosen, least = first, _draw(first, data)
        for share in others:
            drawn = _draw(share, data)
            if drawn < least:
                chosen, least = share, drawn
        return chosen.version


def compile_rollout(scene: str, label: str, weights: Mapping[int, float], versions: Mapping[int, T]) -> Rollout[T]:
    """`weights` by the version's number; each must be among `versions`."""
    return Rollout(
        tuple(Share(versions[number], weights[number], _salt(scene, label, number)) for number in sorted(weights))
    )


def _salt(scene: str, label: str, number: int) -> _Hash:
    return blake2b(f"{scene}\0{label}\0{number}\0".encode(), digest_size=_DIGEST_BYTES)


def _draw(share: Share[T], user: bytes) -> float:
    hashed = share.salt.copy()
    hashed.update(user)
    return -log1p(-int.from_bytes(hashed.digest(), "big") * _TO_UNIFORM) / share.weight
