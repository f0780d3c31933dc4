"""What statistics must answer, counted from the calls themselves."""

import math
from collections import defaultdict

import pytest

from dujiang.records.histogram import ACCURACY
from dujiang.records.moments import HOUR_MS, day_of, iso

KEYS = {
    "app": lambda row: row.app,
    "user": lambda row: row.user_id,
    "role": lambda row: row.user_role,
    "model": lambda row: row.model or None,
    "provider": lambda row: row.provider or None,
    "scene": lambda row: row.scene,
    "scene_version": lambda row: row.scene_version,
    "status": lambda row: row.status,
    "hour": lambda row: iso(row.started_at_ms // HOUR_MS * HOUR_MS),
    "day": lambda row: day_of(row.started_at_ms).isoformat(),
}


def by_hand(rows, group_by):
    groups = defaultdict(list)
    for row in rows:
        groups[tuple(KEYS[name](row) for name in group_by)].append(row)
    return {key: counted(group) for key, group in groups.items()}


def counted(group):
    cost = defaultdict(float)
    for row in group:
        if row.cost_micros is not None:
            cost[row.currency] += row.cost_micros / 10**6
    errors = sum(row.status in {"error", "cut"} for row in group)
    totals = sorted(row.total_ms for row in group)
    firsts = sorted(row.first_token_ms for row in group if row.first_token_ms is not None)
    return {
        "calls": len(group),
        "errors": errors,
        "error_ratio": errors / len(group),
        "prompt_tokens": sum(row.input_uncached + row.cache_read + row.cache_write for row in group),
        "completion_tokens": sum(row.output_visible + row.reasoning for row in group),
        "cost": cost,
        "p50_ms": rank(totals, 0.5),
        "p95_ms": rank(totals, 0.95),
        "p99_ms": rank(totals, 0.99),
        "first_token_p95_ms": rank(firsts, 0.95),
        "cached_ratio": sum(row.cached is not None for row in group) / len(group),
    }


def rank(ordered, share):
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def assert_same(items, wanted, group_by):
    """Every group, every sum, and every quantile within the accuracy of the histograms."""
    assert len(items) == len(wanted)
    for item in items:
        hand = wanted[tuple(item[name] for name in group_by)]
        assert item.keys() == {*group_by, *hand}
        for name, value in hand.items():
            if name.endswith("_ms") and value is not None:
                assert item[name] == pytest.approx(value, rel=ACCURACY + 1e-5), name
            else:
                assert item[name] == pytest.approx(value, abs=1e-6), name
