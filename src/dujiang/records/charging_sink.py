"""Enters what calls cost their callers' budgets in the ledger, before the calls themselves are kept."""

from collections.abc import Callable, Sequence

from dujiang.core.money import Charge
from dujiang.records.drain import BadRecord, Sink
from dujiang.records.moments import id_bytes
from dujiang.records.record import Record

Enter = Callable[[Sequence[tuple[bytes, Sequence[Charge]]]], object]
"""Enters charges by the ids of their records, each record once however often it comes."""


class ChargingSink:
    """A sink that hands records on when their charges are entered. What is sent again is entered once."""

    def __init__(self, enter: Enter, sink: Sink) -> None:
        self._enter = enter
        self._sink = sink

    def insert(self, batch: Sequence[Record]) -> int:
        charged = [(_id_of(record), record.charges) for record in batch if record.charges]
        if charged:
            self._enter(charged)
        return self._sink.insert(batch)


def _id_of(record: Record) -> bytes:
    try:
        return id_bytes(record.id)
    except ValueError as error:
        raise BadRecord(record.id, str(error)) from error
