"""Nobody grants more than they hold: whoever does not hold everything may tighten budgets, and loosen none."""

from collections.abc import Iterator, Mapping

from dujiang.config.author import Author
from dujiang.config.checked import Checked
from dujiang.config.settings import Document
from dujiang.core.errors import Forbidden
from dujiang.core.problem import Problem, at
from dujiang.core.settings import Budget

Terms = tuple[str, str]
"""A budget's currency and period: of one subject only such budgets can be compared."""


def require_no_loosening(author: Author, before: Checked, after: Checked) -> None:
    """Raises `Forbidden` where a budget would go away, allow more, or begin its windows anew."""
    if author.is_operator or author.is_unlimited:
        return
    for problem in loosened(before.document, after.document):
        raise Forbidden(f"`{problem.path}` {problem.message}.", reason="grant", param=problem.path)


def loosened(before: Document, after: Document) -> Iterator[Problem]:
    """Every subject that could spend more than before.

    It is enough to look at the subjects that one of the documents names: of the others, each has the budgets of one of
    the patterns that are named.
    """
    zones = (before.schedule.timezone, after.schedule.timezone)
    is_same_zone = zones[0] == zones[1]
    if before.budgets is not after.budgets or not is_same_zone:
        old, new = _by_subject(before), _by_subject(after)
        for subject in dict.fromkeys((*old, *new)):
            held, left = _drawn_on(old, subject), _drawn_on(new, subject)
            for terms, budget in held.items():
                if reason := _loosening(budget, left.get(terms), zones):
                    yield Problem("budgets", f"would let `{subject}` spend more: its budget {_named(budget)} {reason}")
    if before.apps is not after.apps or not is_same_zone:
        for name, app in before.apps.items():
            own = after.apps[name].budget if name in after.apps else None
            if app.budget is not None and (reason := _loosening(app.budget, own, zones)):
                yield Problem(f"{at('apps', name)}.budget", f"{reason}, which takes the permission `*`")


def _by_subject(document: Document) -> dict[str, dict[Terms, Budget]]:
    found: dict[str, dict[Terms, Budget]] = {}
    for budget in document.budgets:
        found.setdefault(budget.subject, {})[budget.currency, budget.per] = budget
    return found


def _drawn_on(by_subject: Mapping[str, dict[Terms, Budget]], subject: str) -> dict[Terms, Budget]:
    """The budgets that a subject, or who a pattern means and nothing closer does, draws on: the closest ones."""
    kind, _, name = subject.partition(":")
    patterns = [f"user:{name.partition('/')[0]}/*"] if kind == "user" else []
    for each in (subject, *patterns, f"{kind}:*"):
        if each in by_subject:
            return by_subject[each]
    return {}


def _loosening(before: Budget, after: Budget | None, zones: tuple[str, str]) -> str | None:
    """How a budget became looser; None where it did not."""
    if after is None or (after.currency, after.per) != (before.currency, before.per):
        return "would go away"
    if after.amount > before.amount:
        return f"would be {after.amount:f}"
    if (before.timezone or zones[0]) != (after.timezone or zones[1]):
        return "would begin anew, by another time zone"
    if before.then == "refuse" and after.then != "refuse":
        return f"would not refuse but be `then: {after.then}`"
    return None


def _named(budget: Budget) -> str:
    return f"of {budget.amount:f} {budget.currency} ({budget.per})"
