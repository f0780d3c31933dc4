"""The fault matrix, short: what is counted. Times are measured by `make campaign-faults`.

F6, F12 to F16 have tests of their own: `test_ernie.py`, `test_upstream_errors.py`, `test_hostile_peers.py`,
`test_callers_leave.py`.
"""

import pytest
from fault_rows import ROWS, WANTED

SCALES = {
    "F3 429 without a word, 10 a second": 0.4,
    "F8 flapping": 0.4,
    "F34 five times too much": 0.5,
    "F35 noisy neighbour": 0.3,
    "adaptive limit": 1.0,  # it comes down from 256
}
LOOSE = {"served_per_allowed": 0.4, "goodput_per_peak": 0.3, "first_per_capacity": 0.4, "halved_per_capacity": 0.6}
"""How much wider bounds are that a busy machine could miss in so short a time."""


def is_time(figure: str) -> bool:
    return figure.endswith(("_s", "_ms", "_ratio", "_per_min"))


@pytest.mark.parametrize("name", ROWS)
def test_row(name):
    figures = ROWS[name](SCALES.get(name, 0.5))
    for figure, (low, high) in WANTED[name].items():
        if not is_time(figure):
            slack = LOOSE.get(figure, 0.0)
            assert low - slack <= figures[figure] <= high + slack, figures
