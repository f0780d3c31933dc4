"""Values of a document that are sound one by one and cannot be meant together."""

from collections.abc import Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from dujiang.config.settings import RecordSettings, ScheduleSettings, Sections
from dujiang.core.problem import Problem, at
from dujiang.resilience.settings import contradictions as resilience_contradictions
from dujiang.resilience.settings import overridden
from dujiang.routing.settings import MoneySettings
from dujiang.scenes.contradictions import contradictions as scene_contradictions


def contradictions(sections: Sections) -> Iterator[Problem]:
    for name, scene in sections.scenes.items():
        yield from (problem.under(at("scenes", name)) for problem in scene_contradictions(scene))
    yield from _in_resilience(sections)
    yield from _in_money(sections.money)
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


def _in_records(records: RecordSettings) -> Iterator[Problem]:
    if records.content_retention_days > records.retention_days:
        yield Problem("records.content_retention_days", "must not be more than `retention_days`")


def _in_schedule(schedule: ScheduleSettings) -> Iterator[Problem]:
    """Where the system has no time zones to look it up in, a name is taken as it is."""
    try:
        ZoneInfo(schedule.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        if available_timezones():
            yield Problem("schedule.timezone", "there is no such time zone; names look like `Asia/Shanghai`")
