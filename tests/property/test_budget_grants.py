"""Whoever does not hold everything lets nobody spend more, by whatever door they change the document."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from dujiang.config.author import Author, operator
from dujiang.config.budget_grants import require_no_loosening
from dujiang.config.checked import Checked
from dujiang.config.settings import Document, ScheduleSettings
from dujiang.core.call import Caller, ClaimedUser, Rights
from dujiang.core.errors import Forbidden
from dujiang.core.settings import Budget
from dujiang.identity.budgets import Budgets
from dujiang.identity.permissions import PERMISSIONS
from dujiang.identity.settings import AppSettings, BudgetSettings
from dujiang.identity.users import Users

APPS, KEYS, USERS, ROLES = ("a", "b"), ("k", "l"), ("u", "v"), ("r", "s")
SUBJECTS = [
    *(f"app:{name}" for name in (*APPS, "*")),
    *(f"key:{name}" for name in (*KEYS, "*")),
    *(f"role:{name}" for name in (*ROLES, "*")),
    *(f"user:{app}/{name}" for app in APPS for name in (*USERS, "*")),
    "user:*",
]
LIMITED = Author("steward", Rights(PERMISSIONS - {"config:read"}), Caller("steward", "admin", ("steward",)))

terms = {
    "amount": st.sampled_from([Decimal(1), Decimal(2), Decimal(3)]),
    "currency": st.sampled_from(["CNY", "USD"]),
    "per": st.sampled_from(["day", "total"]),
    "timezone": st.sampled_from([None, "UTC", "Asia/Shanghai"]),
    "then": st.sampled_from(["refuse", "refuse", "cheapest"]),
}
declared = st.lists(
    st.builds(BudgetSettings, subject=st.sampled_from(SUBJECTS), **terms),
    max_size=6,
    unique_by=lambda each: (each.subject, each.currency, each.per),
).map(tuple)
apps = st.dictionaries(st.sampled_from(APPS), st.builds(AppSettings, budget=st.none() | st.builds(Budget, **terms)))
documents = st.builds(
    Document,
    budgets=declared,
    apps=apps,
    schedule=st.builds(ScheduleSettings, timezone=st.sampled_from(["UTC", "Asia/Shanghai"])),
)


@st.composite
def changes(draw):
    """Two documents, of which the second often is nearly the first."""
    before = draw(documents)
    if draw(st.booleans()):
        return before, draw(documents)
    kept = [each for each in before.budgets if draw(st.booleans()) or draw(st.booleans())]
    more = [each for each in draw(declared) if all(_is_other(each, known) for known in kept)]
    return before, Document(budgets=(*kept, *more), apps=before.apps, schedule=before.schedule)


def _is_other(one, other):
    return (one.subject, one.currency, one.per) != (other.subject, other.currency, other.per)


def drawn_on(document, caller, user):
    """The budgets that calls are really held to, by whose they are, their currency and their period."""
    rates = {"CNY": Decimal(1), "USD": Decimal(7)}
    budgets = Budgets(document.budgets, document.apps, rates, document.schedule.timezone, Users(), clock=lambda: 1e9)
    dues = budgets.of(caller, Rights(frozenset(), roles=(frozenset(caller.roles),)), ClaimedUser(user))
    own = budgets.of_app(caller.app)
    return {(due.subject, due.purse is own, due.purse.terms.currency, due.purse.terms.per): due.purse for due in dues}


def is_as_tight(before, after):
    return (
        after is not None
        and after.limit_micros <= before.limit_micros
        and after.zone == before.zone
        and (before.terms.then == "cheapest" or after.terms.then == "refuse")
    )


@given(changes())
def test_what_a_limited_author_may_write_lets_nobody_spend_more(change):
    before, after = change
    try:
        require_no_loosening(LIMITED, Checked({}, {}, before), Checked({}, {}, after))
    except Forbidden as refusal:
        assert refusal.reason == "grant"
        return
    for app in (*APPS, "other"):
        for key, user, role in zip((*KEYS, "other"), (*USERS, "other"), (*ROLES, "other"), strict=True):
            caller = Caller(key, app, (role,))
            now = drawn_on(after, caller, user)
            for name, purse in drawn_on(before, caller, user).items():
                assert is_as_tight(purse, now.get(name))


@given(changes())
def test_whoever_holds_everything_writes_what_they_like(change):
    before, after = change
    for author in (operator("shell"), Author("root", Rights(PERMISSIONS))):
        require_no_loosening(author, Checked({}, {}, before), Checked({}, {}, after))


@given(documents)
def test_nothing_is_loosened_by_changing_nothing(document):
    again = Document(budgets=tuple(document.budgets), apps=dict(document.apps), schedule=document.schedule)
    require_no_loosening(LIMITED, Checked({}, {}, document), Checked({}, {}, again))
