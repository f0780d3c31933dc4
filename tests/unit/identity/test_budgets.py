"""Whose money a call spends."""

from decimal import Decimal

import pytest

from dujiang.core.call import Caller, ClaimedUser, Rights
from dujiang.core.money import Cost, Exchange
from dujiang.core.settings import Budget
from dujiang.identity.budgets import Budgets
from dujiang.identity.settings import AppSettings, BudgetSettings
from dujiang.identity.users import User, Users

NOBODY = ClaimedUser()
RIGHTS = Rights(frozenset(), roles=(frozenset({"user"}), frozenset({"guest"})))
ADMIN = Rights(frozenset())


def budget(subject, amount="5", per="day", currency="CNY"):
    return BudgetSettings(subject=subject, amount=Decimal(amount), currency=currency, per=per)


def budgets(*declared, apps=None, users=None, **more):
    return Budgets(
        declared, apps or {}, {"CNY": Decimal(1), "USD": Decimal("7.1")}, "Asia/Shanghai", users or Users(), **more
    )


def subjects(found, caller=None, rights=ADMIN, user=NOBODY):
    return [due.subject for due in found.of(caller or Caller("k", "shop", ("user",)), rights, user)]


@pytest.mark.parametrize(
    ("declared", "drawn_on"),
    [
        ("app:shop", ["app:shop"]),
        ("app:lab", []),
        ("app:*", ["app:shop"]),
        ("key:k", ["key:k"]),
        ("key:other", []),
        ("key:*", ["key:k"]),
        ("role:user", ["role:user"]),
        ("role:guest", ["role:guest"]),
        ("role:*", ["role:guest", "role:user"]),
        ("user:shop/u", ["user:shop/u"]),
        ("user:shop/*", ["user:shop/u"]),
        ("user:*", ["user:shop/u"]),
        ("user:lab/u", []),
        ("user:lab/*", []),
    ],
)
def test_a_subject_is_an_app_a_key_a_role_or_a_user(declared, drawn_on):
    assert subjects(budgets(budget(declared)), rights=RIGHTS, user=ClaimedUser("u", "guest")) == drawn_on


def test_no_user_s_budget_is_drawn_on_where_no_user_is_named():
    assert subjects(budgets(budget("user:*"), budget("app:*"))) == ["app:shop"]


def test_the_most_specific_of_a_kind_takes_the_place_of_the_others():
    found = budgets(budget("user:*", "5"), budget("user:shop/*", "6"), budget("user:shop/vip", "50"))
    limits = {
        user: [due.purse.limit_micros for due in found.of(Caller("k", app, ("user",)), ADMIN, ClaimedUser(user))]
        for app, user in (("shop", "vip"), ("shop", "u"), ("lab", "w"))
    }
    assert limits == {"vip": [50_000_000], "u": [6_000_000], "w": [5_000_000]}


def test_all_periods_of_a_subject_count():
    found = budgets(budget("app:shop", "5", "day"), budget("app:shop", "50", "month"))
    assert [due.purse.terms.per for due in found.of(Caller("k", "shop", ()), ADMIN, NOBODY)] == ["day", "month"]


def test_an_app_and_a_key_may_have_a_budget_of_their_own():
    own = Budget(amount=Decimal(3), currency="USD", per="total")
    found = budgets(budget("app:shop"), apps={"shop": AppSettings(budget=own)})
    caller = Caller("k", "shop", (), budget=own, lineage=(Caller("maker", "shop", (), budget=own),))
    dues = found.of(caller, ADMIN, NOBODY)
    assert [due.subject for due in dues] == ["key:k", "key:maker", "app:shop", "app:shop"]
    keys = {due.account(due.purse.window_now(0.0)).key for due in dues}
    assert len(keys) == 4


def test_a_user_may_have_a_budget_of_their_own():
    own = Budget(amount=Decimal(3), currency="CNY", per="total")
    users = Users([User("shop", "u", budget=own)])
    found = budgets(budget("user:*"), users=users)
    assert subjects(found, user=ClaimedUser("u")) == ["user:shop/u", "user:shop/u"]
    assert subjects(found, user=ClaimedUser("v")) == ["user:shop/v"]
    users.take([User("shop", "u")], 1)
    assert subjects(found, user=ClaimedUser("u")) == ["user:shop/u"]
    users.take([User("shop", "v", budget=own)], 2)
    (changed, _) = found.of(Caller("k", "shop", ()), ADMIN, ClaimedUser("v"))
    assert changed.purse.limit_micros == 3_000_000


def test_what_was_spent_stays_spent_when_only_the_amount_changes():
    def account(amount, per="day"):
        (due,) = budgets(budget("app:shop", amount, per)).of(Caller("k", "shop", ()), ADMIN, NOBODY)
        return due.purse.id

    assert account("5") == account("6")
    assert account("5") != account("5", "month")


def test_costs_are_paid_in_the_budget_s_currency_and_never_too_little():
    (due,) = budgets(budget("app:shop", currency="USD")).of(Caller("k", "shop", ()), ADMIN, NOBODY)
    convert = due.purse.in_its_currency
    assert convert(Cost(7, "USD", "v", Exchange("CNY", "7.1"))) == 7
    assert convert(Cost(71, "CNY", "v", Exchange("CNY", "1"))) == 10
    assert convert(Cost(72, "CNY", "v", Exchange("CNY", "1"))) == 11


def test_a_window_is_the_one_that_is_running():
    (due,) = budgets(budget("app:shop", per="day"), clock=lambda: 0.0).of(Caller("k", "shop", ()), ADMIN, NOBODY)
    first = due.purse.window_now(0.0)
    assert due.purse.window_now(first.end_s - 1) is first
    assert due.purse.window_now(first.end_s).start_s == first.end_s
