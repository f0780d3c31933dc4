"""Values of a document that are sound one by one and cannot be meant together."""

from collections.abc import Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dujiang.config.settings import RecordSettings, ScheduleSettings, Sections
from dujiang.core.problem import Problem, at
from dujiang.core.settings import Budget
from dujiang.resilience.settings import contradictions as resilience_contradictions
from dujiang.resilience.settings import overridden
from dujiang.routing.settings import MoneySettings
from dujiang.scenes.contradictions import contradictions as scene_contradictions


def contradictions(sections: Sections) -> Iterator[Problem]:
    for name, scene in sections.scenes.items():
        yield from (problem.under(at("scenes", name)) for problem in scene_contradictions(scene))
    yield from _in_resilience(sections)
    yield from _in_money(sections.money)
    yield from _in_budgets(sections)
    yield from _in_records(sections.records)
    yield from _in_schedule(sections.schedule)


def _in_resilience(sections: Sections) -> Iterator[Problem]:
    """In the document's own values, then in what models and targets make of them where they override any."""
    own = list(resilience_contradictions(sections.resilience))
    yield from (problem.under("resilience") for problem in own)
    if own:
        return
    for name, model in sections.models.items():
        path = at("models", name)
        of_model = overridden(sections.resilience, model.resilience) if model.resilience else sections.resilience
        found = list(resilience_contradictions(of_model))
        yield from (problem.under(f"{path}.resilience") for problem in found)
        if found:
            continue
        for n, target in enumerate(model.targets):
            if target.resilience:
                of_target = overridden(of_model, target.resilience)
                root = at(f"{path}.targets", n) + ".resilience"
                yield from (problem.under(root) for problem in resilience_contradictions(of_target))


def _in_money(money: MoneySettings) -> Iterator[Problem]:
    if money.rates.get(money.currency, 1) != 1:
        yield Problem(at("money.rates", money.currency), "is the currency of account, whose rate is 1")


def _in_budgets(sections: Sections) -> Iterator[Problem]:
    seen: set[tuple[str, str, str]] = set()
    for n, budget in enumerate(sections.budgets):
        path = at("budgets", n)
        same = (budget.subject, budget.currency, budget.per)
        if same in seen:
            yield Problem(path, "there is a budget of this subject, currency and period already: change that one")
        seen.add(same)
        yield from _in_budget(budget, sections.money, path)
    for name, app in sections.apps.items():
        if app.budget is not None:
            yield from _in_budget(app.budget, sections.money, f"{at('apps', name)}.budget")


def _in_budget(budget: Budget, money: MoneySettings, path: str) -> Iterator[Problem]:
    if budget.currency != money.currency and budget.currency not in money.rates:
        yield Problem(f"{path}.currency", f"has no rate: write what it is worth in `money.rates.{budget.currency}`")
    if budget.timezone is not None:
        yield from _in_zone(budget.timezone, f"{path}.timezone")


def _in_records(records: RecordSettings) -> Iterator[Problem]:
    if records.content_retention_days > records.retention_days:
        yield Problem("records.content_retention_days", "must not be more than `retention_days`")


def _in_schedule(schedule: ScheduleSettings) -> Iterator[Problem]:
    yield from _in_zone(schedule.timezone, "schedule.timezone")


def _in_zone(name: str, path: str) -> Iterator[Problem]:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield Problem(path, "there is no such time zone; names look like `Asia/Shanghai`")
