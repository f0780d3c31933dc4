"""Past calls are priced again: calls, attempts and sums agree afterwards, and nothing else changes."""

from datetime import date

import msgspec
import pytest

from benchmarks.calls import Traffic
from dujiang.core.money import Cost, Exchange
from dujiang.records.moments import DAY_MS, start_of
from dujiang.records.repricing import Repriced, Repricing

DAY = date(2026, 3, 4)
START = start_of(DAY)


def price_of(use):
    if use.model == "gpt-4":
        return None
    amount = use.usage.prompt_tokens + 3 * use.usage.completion_tokens
    return Cost(amount, "USD", "document@9", Exchange("CNY", "7.2"))


@pytest.fixture
def rows():
    made = list(Traffic(5).spread(400, start_ms=START, end_ms=START + DAY_MS))
    twice = next(row for row in made if row.cost_micros is not None and row.model != "gpt-4")
    both = msgspec.structs.replace(twice, attempts=twice.attempts * 2)
    return [both if row is twice else row for row in made]


@pytest.fixture
def sink(home, rows):
    sink = home.sink()
    sink.insert(rows)
    yield sink
    sink.close()


def everything(home):
    return [sorted(home.ask(f"SELECT * FROM {table}"), key=repr) for table in ("calls", "attempts", "rollups", "users")]


def test_everything_agrees_afterwards(sink, home, rows):
    before = everything(home)
    would = sink.appraise(DAY, Repricing(price_of))
    assert everything(home) == before
    done = sink.reprice(DAY, Repricing(price_of))
    assert done == would
    used = [row for row in rows if row.usage_source is not None]
    assert (done.changed + done.same + done.unpriced + done.shared, done.shared) == (len(used), 1)
    assert done.unpriced == sum(row.model == "gpt-4" for row in used)
    expected = {row.request_id: price_of_row(row) for row in used if row.model != "gpt-4" and len(row.attempts) == 1}
    found = home.ask("SELECT request_id, cost_micros, currency, price_version, exchange_rate FROM calls")
    assert {id: cost for id, cost, *rest in found if rest == ["USD", "document@9", "7.2"]} == expected
    summed = "SELECT sum(cost_micros) FROM {} WHERE currency = 'USD' {}"
    by_call = home.ask(summed.format("calls", "AND price_version = 'document@9'"))[0][0]
    assert by_call == sum(expected.values())
    kept = home.ask("SELECT coalesce(sum(cost_micros), 0) FROM calls WHERE currency = 'USD'")[0][0]
    finest, by_app = ("rollups", "AND cube = 0 AND hour >= 0"), ("rollups", "AND cube = 5 AND hour = -1")
    for table, rest in (finest, by_app, ("users", "")):
        assert home.ask(summed.format(table, rest))[0][0] == kept
    tries = (
        "SELECT sum(a.cost_micros) FROM attempts a JOIN calls c ON c.id = a.call_id WHERE price_version = 'document@9'"
    )
    assert home.ask(tries)[0][0] == by_call


def price_of_row(row):
    return row.input_uncached + row.cache_read + row.cache_write + 3 * (row.output_visible + row.reasoning)


def test_doing_it_twice_changes_nothing(sink, home):
    first = sink.reprice(DAY, Repricing(price_of))
    before = everything(home)
    again = sink.reprice(DAY, Repricing(price_of))
    assert again == Repriced(0, first.changed + first.same, first.unpriced, first.shared)
    assert everything(home) == before


def test_what_has_a_price_keeps_it_where_only_the_others_are_meant(sink, home, rows):
    priced = [row.request_id for row in rows if row.cost_micros is not None]
    costs = "SELECT request_id, cost_micros, currency FROM calls"
    before = {id: rest for id, *rest in home.ask(costs)}
    done = sink.reprice(DAY, Repricing(price_of, only_unpriced=True))
    assert done.changed == sum(row.cost_micros is None and row.usage_source is not None for row in rows) - done.unpriced
    after = {id: rest for id, *rest in home.ask(costs)}
    assert all(before[id] == after[id] for id in priced)


def test_a_failure_leaves_all_as_it_was(sink, home):
    before = everything(home)
    seen = []

    def failing(use):
        seen.append(use)
        if len(seen) == 100:
            raise RuntimeError
        return price_of(use)

    with pytest.raises(RuntimeError):
        sink.reprice(DAY, Repricing(failing))
    assert everything(home) == before
