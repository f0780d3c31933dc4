"""What several workers counted, as one."""

from msgspec import msgpack

from dujiang.telemetry.counts import Counts, Histogram, Levels, Sample, TargetLevels
from dujiang.telemetry.metrics import METRICS, render


def sample(worker: int, *, calls: int, revision: int = 3, is_stale: bool = False, reloads: int = 2) -> Sample:
    counts = Counts(
        calls={("chat", 'a "model"', "p", "ok"): calls, ("chat", "m", "p", str(worker)): 1},
        tokens={("m", "prompt"): 2 * calls},
        unauthenticated=calls,
        reloads=reloads,
    )
    for _ in range(calls):
        counts.duration.observe(0.02 * worker)
    return Sample(worker, counts, Levels(calls, 100, revision, is_stale, 7.5, 10 * worker, 1000 * worker, None))


def rendered(*samples: Sample, silent: int = 0) -> list[str]:
    return render(samples, 2, silent).splitlines()


def test_counters_and_histograms_are_summed_up() -> None:
    lines = rendered(sample(1, calls=3), sample(2, calls=4))
    assert r'dujiang_calls_total{endpoint="chat",model="a \"model\"",provider="p",outcome="ok"} 7' in lines
    assert 'dujiang_calls_total{endpoint="chat",model="m",provider="p",outcome="1"} 1' in lines
    assert 'dujiang_tokens_total{model="m",kind="prompt"} 14' in lines
    assert "dujiang_unauthenticated_total 7" in lines
    assert 'dujiang_call_duration_seconds_bucket{le="0.025"} 3' in lines
    assert 'dujiang_call_duration_seconds_bucket{le="+Inf"} 7' in lines
    assert "dujiang_call_duration_seconds_sum 0.220000" in lines
    assert "dujiang_call_duration_seconds_count 7" in lines


def test_what_all_share_is_shown_once() -> None:
    lines = rendered(sample(1, calls=3, revision=4), sample(2, calls=4, is_stale=True, reloads=1), silent=1)
    assert {
        "dujiang_records_waiting_bytes 100",
        "dujiang_config_revision 3",
        "dujiang_config_stale 1",
        "dujiang_config_reloads_total 2",
        "dujiang_calls_in_flight 7",
        "dujiang_uptime_seconds 7.500",
        'dujiang_process_resident_bytes{worker="2"} 2000',
        'dujiang_event_loop_tasks{worker="1"} 10',
        "dujiang_workers 2",
        "dujiang_workers_silent 1",
    } <= set(lines)
    assert not [line for line in lines if line.startswith("dujiang_process_open_descriptors")]


def of_models(worker: int, state: str, limit: int, waiting: int) -> Sample:
    target = ("m", "p/m", "main")
    found = sample(worker, calls=1)
    found.counts.opened[target] = worker
    found.counts.refused["m", "late"] = 2
    found.counts.retries["p/m", "retry"] = 3
    found.counts.waits.observe(0.2)
    assert found.levels is not None
    found.levels.targets[target] = TargetLevels(state, 1, limit)
    found.levels.waiting["m"] = waiting
    return found


def test_targets_are_seen_by_each_worker_and_share_their_limits() -> None:
    lines = rendered(of_models(1, "open", 3, 0), of_models(2, "ok", 4, 5), of_models(3, "open", 4, 2))
    target = 'model="m",target="p/m",credential="main"'
    assert {
        f'dujiang_target_workers{{{target},state="open"}} 2',
        f'dujiang_target_workers{{{target},state="ok"}} 1',
        f"dujiang_target_in_flight{{{target}}} 3",
        f"dujiang_target_limit{{{target}}} 11",
        f"dujiang_breaker_opened_total{{{target}}} 6",
        'dujiang_queue_waiting{model="m"} 7',
        'dujiang_queue_refused_total{model="m",reason="late"} 6',
        'dujiang_retries_total{target="p/m",why="retry"} 9',
        "dujiang_queue_seconds_count 3",
    } <= set(lines)


def test_counts_of_the_dead_have_no_levels() -> None:
    gone = sample(0, calls=5)
    gone.levels = None
    lines = rendered(sample(1, calls=3), gone)
    assert "dujiang_unauthenticated_total 8" in lines
    assert "dujiang_calls_in_flight 3" in lines


def test_every_metric_has_its_type_once() -> None:
    lines = rendered(sample(1, calls=1))
    assert [line.split()[2] for line in lines if line.startswith("# TYPE")] == list(METRICS)


def test_a_sample_survives_the_way_between_processes() -> None:
    one = of_models(1, "open", 3, 1)
    assert msgpack.decode(msgpack.encode(one), type=Sample) == one


def test_adding_changes_only_the_one_that_is_added_to() -> None:
    one, other = sample(1, calls=3).counts, sample(2, calls=4).counts
    before = msgpack.encode(other)
    one.add(other)
    one.duration.observe(1.0)
    assert msgpack.encode(other) == before
    assert Histogram.of((1.0,)) == Histogram((1.0,), [0, 0], 0.0)
