"""What is told when a budget passes the mark at which it wants to be warned, or all of it is spent."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dujiang.core.money import Charge
from dujiang.identity.ledger import Crossing, Ledger

Tell = Callable[[str, Mapping[str, Any]], None]
"""Tells of something of a kind. Never waits, never raises."""


def charging(ledger: Ledger, tell: Tell) -> Callable[[Sequence[tuple[bytes, Sequence[Charge]]]], None]:
    """Enters the charges of records in a ledger, and tells of the budgets that they took past a mark: `budget.soft`,
    `budget.spent`. Raises `DatabaseAway`.
    """

    def charge(records: Sequence[tuple[bytes, Sequence[Charge]]]) -> None:
        for crossing in ledger.charge(records):
            tell(f"budget.{crossing.kind}", facts_of(crossing))

    return charge


def facts_of(crossing: Crossing) -> dict[str, Any]:
    """Amounts are in the budget's currency; `window_start` is None for a budget without windows."""
    charge = crossing.charge
    start_s = charge.window_start_s
    start = datetime.fromtimestamp(start_s, UTC).isoformat().replace("+00:00", "Z") if start_s else None
    return {
        "budget": {
            "id": charge.budget_id,
            "subject": charge.subject,
            "limit": charge.limit_micros / 1_000_000,
            "currency": charge.currency,
            "spent": crossing.spent_micros / 1_000_000,
            "window_start": start,
        }
    }
