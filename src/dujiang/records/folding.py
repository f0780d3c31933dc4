"""Folding: an hour's finest sums become part of all others once, when the next hour begins, instead of with each batch.

An hour is folded when it or a later one has rows in a coarser cube: the rows themselves are the state, so that it can
never disagree with them. Until then readers add the finest rows of the last hours. A record that comes late is added
to what its hour was folded into.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from dujiang.records.cubes import HOURS, Key, coarser
from dujiang.records.record import Record
from dujiang.records.rollups import UserKey, summed
from dujiang.records.sums import Sums


class DaySums(Protocol):
    """The stored sums of one day, in a transaction beside which nobody else writes to them."""

    def add_to_rollups(self, sums: Mapping[Key, Sums]) -> None: ...

    def add_to_users(self, sums: Mapping[UserKey, Sums]) -> None: ...

    def last_folded_hour(self) -> int:
        """-1 where there is none."""
        ...

    def finest(self, hours: range) -> dict[Key, Sums]:
        """The finest rows of some hours, of which there is at least one."""
        ...


def add_calls(stored: DaySums, fresh: Iterable[tuple[bytes, Record]]) -> int:
    """Adds new records of the day, by id, to its sums, and to all others where their hour is folded; tells the latest
    hour that has one of them.

    Raises `ValueError` or `OverflowError` for no finite time, and where there are no records.
    """
    added = summed(fresh)
    stored.add_to_rollups(added.finest)
    stored.add_to_users(added.by_user)
    last = stored.last_folded_hour()
    late = {key: sums for key, sums in added.finest.items() if key.hour <= last}
    if late:
        stored.add_to_rollups(coarser(late))
    return max(key.hour for key in added.finest)


def fold(stored: DaySums, until_hour: int = HOURS) -> None:
    """Folds every hour before `until_hour` that is not folded yet."""
    hours = range(stored.last_folded_hour() + 1, until_hour)
    finest = stored.finest(hours) if hours else {}
    if finest:
        stored.add_to_rollups(coarser(finest))
