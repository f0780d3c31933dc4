"""All rows, in order."""

from faulty import broken_wires, failing, overload, slowness, throttling
from faulty.row import Row


def _place(row: Row) -> tuple[int, str]:
    number = "".join(letter for letter in row.number if letter.isdigit())
    return (int(number) if number else 1000), row.number


ROWS = tuple(sorted((*failing.ROWS, *throttling.ROWS, *slowness.ROWS, *broken_wires.ROWS, *overload.ROWS), key=_place))
