"""What one process found out about a target, so that others need not find it out again.

An event says what is left of a time, not when it ends: clocks of processes differ. It may get lost: who does not hear
it finds out what it tells with a few calls more.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from dujiang.resilience.model import Model
from dujiang.resilience.target import Place, Target

What = Literal[
    "open", "answers", "cooling", "target_parked", "target_restored", "credential_parked", "credential_restored"
]
"""`answers`: the service behind a credential answers a probe again, whose targets may be open."""


class Event(Struct, frozen=True):
    """Something that happened to a target of a model, or, where both are empty, to all that use a credential.

    What one model's clocks find slow another's do not: a target is known by its model, too. `origin` is the process
    that saw it, `left_s` how long it holds, `reason` the code of the error behind it.
    """

    origin: str
    model: str
    provider: str
    target: str
    credential: str
    what: What
    left_s: float
    reason: str


class Herald:
    """Tells other processes what happens here, by `publish`, which never waits, in the name of `origin`, and
    understands what they tell.
    """

    def __init__(self, origin: str, publish: Callable[[bytes], None]) -> None:
        self.origin = origin
        self._publish = publish

    def tell(self, model: str, of: Place, what: What, left_s: float, reason: str) -> None:
        self._publish(msgspec.msgpack.encode(Event(self.origin, model, *of, what, left_s, reason)))

    def heard(self, message: bytes) -> Event | None:
        """What another process tells. None for what this one told itself, and for what is no event."""
        try:
            event = msgspec.msgpack.decode(message, type=Event)
        except msgspec.MsgspecError:
            return None
        return event if event.origin != self.origin else None


def tell_of_credential(herald: Herald, of: Place, reason: str | None) -> None:
    """Tell that a credential is parked, or, without a reason, no longer."""
    what: What = "credential_restored" if reason is None else "credential_parked"
    herald.tell("", of._replace(name=""), what, 0.0, reason or "")


class Fleet(NamedTuple):
    """The processes of which this is one: how many divide limits among themselves, and how it tells the others."""

    workers: int
    herald: Herald


def take_up(event: Event, models: Mapping[str, Model], now: float) -> None:
    """Believe another process, as far as it knows more. `now` is of the targets' clock."""
    if event.model:
        model = models.get(event.model)
        for target in model.targets if model is not None else ():
            if (target.provider, target.name, target.credential) == (event.provider, event.target, event.credential):
                _take_up_of_target(event, target, now)
        return
    for target in (target for model in models.values() for target in model.targets):
        if (target.provider, target.credential) == (event.provider, event.credential):
            _take_up_of_credential(event, target)


def _take_up_of_credential(event: Event, target: Target) -> None:
    match event.what:
        case "answers":
            target.load.breaker.hasten()
        case "credential_parked":
            target.parking.adopt(event.reason)
        case "credential_restored":
            target.parking.adopt(None)
        case _:
            pass


def _take_up_of_target(event: Event, target: Target, now: float) -> None:
    load = target.load
    match event.what:
        case "open":
            load.breaker.adopt("open", now + event.left_s, event.reason)
        case "cooling":
            load.cooldown.adopt(now + event.left_s)
        case "target_parked":
            load.parking.adopt(event.reason)
        case "target_restored":
            load.parking.adopt(None)
        case _:
            pass
