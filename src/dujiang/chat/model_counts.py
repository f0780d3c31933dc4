"""What the metrics tell of models: looked up when somebody asks, so that calls do not pay for it."""

from collections.abc import Mapping
from time import monotonic

from dujiang.resilience.model import Model
from dujiang.telemetry.counts import TargetLevels
from dujiang.telemetry.metrics import ModelCounts


def count_models(models: Mapping[str, Model]) -> ModelCounts:
    """How the models of this process, and their targets, stand."""
    counts, now = ModelCounts({}, {}, {}, {}), monotonic()
    for name, model in models.items():
        counts.waiting[name] = model.gate.waiting
        for reason, refused in model.gate.refused.items():
            counts.refused[name, reason] = refused
        for target in model.targets:
            key, load = (name, target.name, target.credential), target.load
            counts.opened[key] = load.breaker.opened
            counts.targets[key] = TargetLevels(target.standing(now).state, load.in_flight, load.limit.limit)
    return counts
