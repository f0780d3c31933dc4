import pytest

from dujiang.config.loader import read_document
from dujiang.config.problems import InvalidDocument
from dujiang.resilience.settings import ResilienceSettings, TimeoutSettings, overridden


def test_overrides_change_what_they_say_and_nothing_else():
    base = ResilienceSettings(timeouts=TimeoutSettings(connect_s=1, total_s=60))
    changed = overridden(base, {"timeouts": {"total_s": 120}, "fallbacks": {"a": ["b"]}})
    assert changed.timeouts == TimeoutSettings(connect_s=1, total_s=120)
    assert changed.retry == base.retry
    assert changed.fallbacks == {"a": ("b",)}
    assert overridden(base, {}) == base


def test_a_target_overrides_its_model():
    document = read_document(
        b"""
        providers: {p: {kind: deepseek}}
        models:
          m:
            resilience: {timeouts: {total_s: 60, idle_s: 5}}
            targets: [{provider: p, model: x, resilience: {timeouts: {total_s: 10}}}]
        """
    )
    model = document.models["m"]
    timeouts = overridden(overridden(document.resilience, model.resilience), model.targets[0].resilience).timeouts
    assert timeouts == TimeoutSettings(total_s=10, idle_s=5)


def test_overrides_must_agree_with_what_they_override():
    text = """
    providers: {p: {kind: deepseek}}
    models:
      m:
        resilience: {breaker: {open_s: 60}}
        targets:
          - {provider: p, model: x}
          - {provider: p, model: y, resilience: {breaker: {max_open_s: 30}}}
    """
    with pytest.raises(InvalidDocument) as refused:
        read_document(text.encode())
    assert [problem.path for problem in refused.value.problems] == ["models.m.targets[1].resilience.breaker.max_open_s"]
