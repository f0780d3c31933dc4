"""The strategy that keeps a conversation where it is, for vendors keep its beginning in a cache."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from math import log
from typing import Generic, TypeVar
from zlib import crc32

from dujiang.core.call import Caller, ClaimedUser
from dujiang.resilience.by_load import LeastLoaded
from dujiang.resilience.candidate import Candidate
from dujiang.resilience.slow_start import SlowStart

T = TypeVar("T", bound=Candidate)

_WORD = 0xFFFF_FFFF
_WORDS = 2.0**32
_SPREAD = 0x85EB_CA6B
_SPREAD_AGAIN = 0xC2B2_AE35
"""MurmurHash3's multipliers. Of its steps, those that shape the high bits are done; no other bit decides anything."""


def sticky_key(user: ClaimedUser, caller: Caller) -> str:
    """What a call sticks by: its conversation, else its user, both within the app that names them, else its key."""
    name = user.conversation_id or user.user_id
    return caller.key_id if name is None else f"{caller.app}\0{name}"


class Sticky(Generic[T]):
    """Weighted rendezvous hashing: each target has a score by key, the highest is chosen.

    Thaler and Ravishankar, *Using Name-Based Mappings to Increase Hit Rates* (1998); the weighted score is weight /
    -ln(hash in (0, 1)). A key stays while its target is a candidate. Of a target that is none any more (it is ill, or
    at its limit) the keys go to each one's second choice, and come back with it; no other key moves. A call without a
    key goes to the least loaded. Candidates are among `targets`.
    """

    __slots__ = ("_keyless", "_seeds", "_slow_start")

    def __init__(self, targets: Iterable[T], slow_start: SlowStart, keyless: LeastLoaded[T]) -> None:
        self._seeds = {target: _seed(target) for target in targets}
        self._slow_start = slow_start
        self._keyless = keyless

    def choose(self, candidates: Sequence[T], key: str | None = None) -> T:
        if key is None:
            return self._keyless.choose(candidates)
        seeds = self._seeds
        place = crc32(key.encode(errors="surrogatepass"))
        chosen = candidates[0]
        best = -1.0
        for target in candidates:
            word = ((place ^ seeds[target]) * _SPREAD) & _WORD
            word = ((word ^ (word >> 15)) * _SPREAD_AGAIN) & _WORD
            weight = target.weight if target.load.restored_at is None else self._slow_start.weight(target)
            score = weight / -log((word + 0.5) / _WORDS)
            if score > best:
                chosen, best = target, score
        return chosen


def _seed(target: Candidate) -> int:
    """32 bits that tell a target in every process: Python's own hash differs from one to the next."""
    name = f"{target.provider}\0{target.name}\0{target.credential}"
    return int.from_bytes(blake2b(name.encode(), digest_size=4).digest())
