"""What the balancer knows of the targets that it chooses among."""

from typing import Protocol

from dujiang.core.chat import Usage
from dujiang.core.money import Cost
from dujiang.resilience.ewma import PeakEwma


class Load(Protocol):
    """How many calls something serves now."""

    in_flight: int


class RecoveringLoad(Load, Protocol):
    """A load that says when its target came back: seconds of the balancer's clock, None once that is long ago."""

    restored_at: float | None


class TimedLoad(RecoveringLoad, Protocol):
    """A load that learnt how fast its target is."""

    @property
    def first_token(self) -> PeakEwma: ...

    @property
    def per_token(self) -> PeakEwma: ...


class Candidate(Protocol):
    """A target that may be asked now: it is healthy, has room, and was not tried by this call.

    Its provider, name and credential together tell it from every other, in every process and after every start.
    `credit` belongs to the balancer.
    """

    credit: float

    @property
    def provider(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def credential(self) -> str: ...

    @property
    def weight(self) -> float: ...

    def price(self, usage: Usage, /) -> Cost | None:
        """What a use of it costs; None when that is not known."""
        ...

    @property
    def load(self) -> TimedLoad: ...


class TargetLoad:
    """What is learnt of a target, which outlives the revision that declares it.

    `first_token` has the times to the first token, in seconds, of streamed attempts alone; `per_token` the seconds for
    each output token of whole answers alone. Whoever makes the attempts writes them; the balancer only reads, but for
    `restored_at`, which it forgets once slow start is over.
    """

    __slots__ = ("first_token", "in_flight", "per_token", "restored_at")

    restored_at: float | None

    def __init__(self) -> None:
        self.in_flight = 0
        self.restored_at = None
        self.first_token = PeakEwma()
        self.per_token = PeakEwma()

    def come_back(self, at: float) -> None:
        """The target is well again since that moment: slow start begins."""
        self.restored_at = at
