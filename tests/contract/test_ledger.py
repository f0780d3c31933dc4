"""The ledger, on every database: each record's charges once, whatever comes again."""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dujiang.core.errors import Unprocessable
from dujiang.core.ids import first_id
from dujiang.core.money import Charge
from dujiang.identity.accounts import Spent
from dujiang.identity.ledger import CLAIM_DAYS, KEPT_DAYS, MAX_MICROS, Ledger
from dujiang.migrations import prepare
from dujiang.storage.database import connect


@pytest.fixture
def ledger(database_url):
    with connect(database_url) as database:
        prepare(database)
        yield Ledger(database)


def charge(amount, *, subject="app:shop", budget="b", window=0, limit=1000, soft=None):
    return Charge(budget, subject, window, "CNY", amount, limit, soft)


def ids(count):
    return [uuid4().bytes for _ in range(count)]


def test_charges_add_up_by_account(ledger):
    one, two = ids(2)
    ledger.charge([(one, [charge(5), charge(7, subject="key:k")]), (two, [charge(6), charge(1, window=60)])])
    assert ledger.spent("b", "app:shop", 0).micros == 11
    assert ledger.spent("b", "key:k", 0).micros == 7
    assert ledger.spent("b", "app:shop", 60).micros == 1
    assert ledger.spent("b", "app:other", 0) == Spent()


def test_a_record_that_comes_again_is_passed_over(ledger):
    one, two = ids(2)
    ledger.charge([(one, [charge(5)])])
    ledger.charge([(one, [charge(5)]), (two, [charge(6)]), (two, [charge(6)])])
    assert ledger.spent("b", "app:shop", 0).micros == 11


def test_corrections_are_part_of_what_is_spent(ledger):
    ledger.charge([(ids(1)[0], [charge(500)])])
    made = ledger.correct(("b", 0, "app:shop"), "CNY", -200, reason="the vendor gave some back", author="k")
    assert ledger.spent("b", "app:shop", 0) == Spent(300, (made.id,))
    other = ledger.correct(("b", 60, "app:shop"), "CNY", 9, reason="paid elsewhere", author="k")
    assert ledger.spent("b", "app:shop", 60) == Spent(9, (other.id,))
    assert ledger.corrections("b", 0) == [made]
    assert ledger.corrections_since(made.id) == [other]
    UUID(made.id)


def test_crossings_are_told_once(ledger):
    def kinds(amount):
        found = ledger.charge([(ids(1)[0], [charge(amount, limit=1000, soft=800)])])
        return [(crossing.kind, crossing.spent_micros) for crossing in found]

    assert kinds(799) == []
    assert kinds(1) == [("soft", 800)]
    assert kinds(199) == []
    assert kinds(1) == [("spent", 1000)]
    assert kinds(500) == []


def test_one_charge_may_cross_both(ledger):
    found = ledger.charge([(ids(1)[0], [charge(2000, limit=1000, soft=800)])])
    assert [crossing.kind for crossing in found] == ["soft", "spent"]


def test_entries_tell_who_spent_most(ledger):
    charges = [charge(5, subject="user:a/1"), charge(9, subject="user:a/2"), charge(7, subject="user:a/3", window=60)]
    ledger.charge([(ids(1)[0], charges)])
    assert [(entry.subject, entry.spent_micros) for entry in ledger.entries([("b", 0)])] == [
        ("user:a/2", 9),
        ("user:a/1", 5),
    ]
    assert len(ledger.entries([("b", 0), ("b", 60), ("none", 0)])) == 3


def test_what_is_old_is_forgotten_and_a_total_never(ledger):
    (one,) = ids(1)
    ledger.charge([(one, [charge(5), charge(6, window=60)])])
    now = datetime.now(UTC)
    ledger.forget(now + timedelta(days=CLAIM_DAYS - 1))
    ledger.charge([(one, [charge(5)])])
    ledger.forget(now + timedelta(days=KEPT_DAYS + 1))
    assert ledger.spent("b", "app:shop", 0).micros == 5
    assert ledger.spent("b", "app:shop", 60).micros == 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_batches_that_come_again_in_any_order_are_charged_once(ledger, data):
    budget = uuid4().hex[:16]
    subjects = st.sampled_from(["app:a", "user:a/u", "role:r"])
    amounts = st.lists(st.tuples(subjects, st.integers(0, 10**9)), min_size=1, max_size=4)
    records = [
        (uuid4().bytes, [charge(amount, subject=subject, budget=budget) for subject, amount in charges])
        for charges in data.draw(st.lists(amounts, min_size=1, max_size=12))
    ]
    expected: dict[str, int] = {}
    for _, charges in records:
        for each in charges:
            expected[each.subject] = expected.get(each.subject, 0) + each.amount_micros
    sent = list(records)
    for _ in range(data.draw(st.integers(0, 5))):
        sent += data.draw(st.lists(st.sampled_from(records), min_size=1, max_size=8))
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        ledger.charge(sent[:size])
        sent = sent[size:]
    assert {entry.subject: entry.spent_micros for entry in ledger.entries([(budget, 0)])} == expected


def test_what_all_subjects_spent_is_summed_by_budget_and_window(ledger):
    one, two = ids(2)
    ledger.charge([(one, [charge(5), charge(7, subject="key:k"), charge(2, window=60)])])
    ledger.charge([(two, [charge(6), charge(1, budget="c")])])
    assert ledger.sums([("b", 0), ("b", 60), ("c", 0), ("d", 0)]) == {
        ("b", 0): (18, 2),
        ("b", 60): (2, 1),
        ("c", 0): (1, 1),
    }
    assert ledger.sums([]) == {}
    assert [entry.subject for entry in ledger.entries([("b", 0)], 1)] == ["app:shop"]


def test_many_windows_are_summed_at_once(ledger):
    [one] = ids(1)
    ledger.charge([(one, [charge(n, window=n) for n in range(1, 1200)])])
    sums = ledger.sums(("b", n) for n in range(1200))
    assert sums == {("b", n): (n, 1) for n in range(1, 1200)}


def test_nobody_is_corrected_beyond_all_money(ledger):
    ledger.correct(("b", 0, "app:shop"), "CNY", MAX_MICROS, reason="x", author="k")
    with pytest.raises(Unprocessable):
        ledger.correct(("b", 0, "app:shop"), "CNY", 1, reason="x", author="k")
    assert ledger.spent("b", "app:shop", 0).micros == MAX_MICROS
    assert len(ledger.corrections("b", 0)) == 1


def test_corrections_are_found_by_when_they_were_made(ledger):
    before = int(time.time() * 1000)
    made = ledger.correct(("b", 0, "app:shop"), "CNY", 1, reason="x", author="k")
    assert ledger.corrections_since(first_id(before)) == [made]
    assert ledger.corrections_since(first_id(before + 3_600_000)) == []
