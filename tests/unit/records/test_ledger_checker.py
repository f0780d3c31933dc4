"""The ledger checker finds what it is there for."""

import pytest
from callers import Heard
from ledger import Upstream, budget_violations, check

WHOLE = Heard("a", 200, is_complete=True)
CUT = Heard("a", 200, is_complete=True, is_cut=True)
LEFT = Heard("a", 200, has_left=True)
REFUSED = Heard("a", 403, is_complete=True)
DIED = Heard("a", 200)
UNHEARD = Heard("a", has_left=True)


def row(status="ok", http_status=200, **fields):
    usual = {"id": "1", "request_id": "a", "attempts": 1, "usage": {}, "cached": None, "cost": None}
    return usual | {"status": status, "http_status": http_status} | fields


CNY = {"amount": 0.1, "currency": "CNY"}


@pytest.mark.parametrize(
    ("heard", "rows", "upstream", "costs"),
    [
        (WHOLE, [row()], Upstream(1, 1), {}),
        (WHOLE, [row(cost=CNY)], Upstream(1, 1), {"CNY": 0.1}),
        (CUT, [row("cut")], Upstream(1), {}),
        (LEFT, [row("cancelled", 499)], Upstream(1, 0, 1), {}),
        (LEFT, [row()], Upstream(1, 1), {}),
        (UNHEARD, [], Upstream(), {}),
        (UNHEARD, [row("cancelled", 499, usage=None)], Upstream(), {}),
        (REFUSED, [row("refused", 403, attempts=0)], Upstream(), {}),
        (DIED, [], Upstream(1), {}),
        (DIED, [row()], Upstream(1, 1), {}),
    ],
)
def test_what_agrees_is_let_through(heard, rows, upstream, costs) -> None:
    assert check([heard], rows, upstream, costs).violations == ()


@pytest.mark.parametrize(
    ("heard", "rows", "upstream", "costs", "found"),
    [
        (WHOLE, [], None, None, "no record"),
        (LEFT, [], None, None, "no record"),
        (WHOLE, [row(), row(id="2")], None, None, "2 records of one call"),
        (WHOLE, [row(), row()], None, None, "occurs 2 times"),
        (WHOLE, [row(), row(request_id="b", id="2")], None, None, "without a call"),
        (WHOLE, [row("cancelled", 499)], None, None, "says cancelled"),
        (CUT, [row()], None, None, "cut stream"),
        (REFUSED, [row("refused", 400, attempts=0)], None, None, "says refused 400"),
        (REFUSED, [row("refused", 403)], None, None, "refused after 1"),
        (LEFT, [row("cancelled", 200)], None, None, "cancelled with 200"),
        (WHOLE, [row(cached="exact")], None, None, "from the cache with 1"),
        (WHOLE, [row()], Upstream(2, 1), None, "counted 2"),
        (WHOLE, [row(attempts=2)], Upstream(1, 1), None, "counted 1"),
        (WHOLE, [row()], Upstream(1, 0), None, "completed 0"),
        (WHOLE, [row(cost=CNY)], None, {"CNY": 0.2}, "µCNY"),
        (WHOLE, [row()], None, {"USD": 0.2}, "µUSD"),
    ],
)
def test_what_does_not_is_found(heard, rows, upstream, costs, found) -> None:
    violations = check([heard], rows, upstream, costs).violations
    assert [line for line in violations if found in line], violations


def test_unknown_calls_are_listed_and_counted_apart() -> None:
    verdict = check([DIED], [])
    assert (verdict.unknown, verdict.acknowledged, verdict.lost, verdict.duplicated) == (("a",), 0, 0, 0)
    assert check([WHOLE], []).lost == 1
    assert check([WHOLE], [row(), row(id="2")]).duplicated == 1


def budget(subject, accounts, corrections=()):
    return {
        "subject": subject,
        "currency": "CNY",
        "accounts": [{"subject": name, "spent": spent} for name, spent in accounts.items()],
        "corrections": [{"subject": name, "amount": amount} for name, amount in corrections],
    }


def paid(amount, app="shop", key="k", user=None, currency="CNY"):
    return row(app=app, key_id=key, user_id=user, cost={"amount": amount, "currency": currency})


ROWS = [
    paid(0.1),
    paid(0.2, user="u"),
    paid(0.4, app="lab", key="l", user="u"),
    paid(9, currency="USD"),
    row(cost=None),
]


@pytest.mark.parametrize(
    ("found", "is_sound"),
    [
        (budget("app:shop", {"app:shop": 0.3}), True),
        (budget("app:shop", {"app:shop": 2.3}, [("app:shop", 2), ("app:shop", 0)]), True),
        (budget("app:other", {"app:other": 0}), True),
        (budget("key:*", {"key:k": 0.3, "key:l": 0.4}), True),
        (budget("user:*", {"user:shop/u": 0.2, "user:lab/u": 0.4}), True),
        (budget("user:lab/*", {"user:lab/u": 0.4}), True),
        (budget("app:shop", {"app:shop": 0.2}), False),
        (budget("app:shop", {"app:shop": 0.300001}), False),
        (budget("app:shop", {}), False),
        (budget("key:*", {"key:k": 0.3}), False),
        (budget("user:*", {"user:shop/u": 0.2, "user:lab/u": 0.4, "user:lab/v": 0.1}), False),
        (budget("app:shop", {"app:shop": 0.3}, [("app:shop", 1)]), False),
    ],
)
def test_a_ledger_agrees_with_what_calls_cost_or_does_not(found, is_sound) -> None:
    assert (budget_violations(ROWS, found) == []) is is_sound
