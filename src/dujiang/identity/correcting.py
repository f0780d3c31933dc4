"""Which account a correction means, and whether it can be meant."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from time import time

from msgspec import Struct

from dujiang.core.errors import Unprocessable
from dujiang.identity.budgets import Listed, Purse
from dujiang.identity.ledger import KEPT_DAYS, AccountId
from dujiang.identity.windows import TOTAL, window_at

_DAY_S = 86_400


class Correcting(Struct, frozen=True):
    """A correction that may be made; a negative amount gives money back."""

    account: AccountId
    amount_micros: int


def correcting(
    listed: Listed,
    amount: Decimal,
    subject: str | None,
    window_start: datetime | None,
    clock: Callable[[], float] = time,
) -> Correcting:
    """The correction of a budget. `window_start` is None for the window that is running.

    Raises `Unprocessable` for an amount that is nothing, a subject that the budget is not for, and a moment at which no
    window began, or none that is still kept.
    """
    micros = int((amount * 1_000_000).to_integral_value(ROUND_HALF_EVEN))
    if micros == 0:
        raise Unprocessable("Give an amount of at least a millionth.", param="amount")
    start_s = _window_start(listed.purse, window_start, clock())
    return Correcting((listed.id, start_s, _subject(listed, subject)), micros)


def _subject(listed: Listed, subject: str | None) -> str:
    if not listed.is_pattern:
        if subject not in {None, listed.subject}:
            raise Unprocessable(f"This budget is for `{listed.subject}` alone.", param="subject")
        return listed.subject
    stem = listed.subject.removesuffix("*")
    if subject is None:
        raise Unprocessable(f"Say whose account it is: a `subject` that begins with `{stem}`.", param="subject")
    name = subject.removeprefix(stem)
    is_whole = all(name.partition("/")[::2]) if stem == "user:" else bool(name)
    if name == subject or not is_whole or name.endswith("*") or len(subject) > 600:
        raise Unprocessable(f"`{subject[:100]}` is not one of `{listed.subject}`.", param="subject")
    return subject


def _window_start(purse: Purse, wanted: datetime | None, now_s: float) -> int:
    running = purse.window_now(now_s)
    if wanted is None:
        return running.start_s
    if running == TOTAL:
        raise Unprocessable("This budget has no windows: leave `window_start` out.", param="window_start")
    moment_s = wanted.timestamp()
    if not now_s - KEPT_DAYS * _DAY_S <= moment_s <= now_s:
        raise Unprocessable(f"It must lie in the last {KEPT_DAYS} days.", param="window_start")
    window = window_at(moment_s, purse.terms.per, purse.zone)
    if window.start_s != moment_s:
        begin = datetime.fromtimestamp(window.start_s, UTC).isoformat().replace("+00:00", "Z")
        raise Unprocessable(f"No window began then; the one of that moment began at {begin}.", param="window_start")
    return window.start_s
