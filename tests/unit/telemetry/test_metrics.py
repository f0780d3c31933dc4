"""What several workers counted, as one."""

from msgspec import msgpack

from dujiang.telemetry.counts import Counts, Histogram, Levels, Sample
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
    one = sample(1, calls=3)
    assert msgpack.decode(msgpack.encode(one), type=Sample) == one


def test_adding_changes_only_the_one_that_is_added_to() -> None:
    one, other = sample(1, calls=3).counts, sample(2, calls=4).counts
    before = msgpack.encode(other)
    one.add(other)
    one.duration.observe(1.0)
    assert msgpack.encode(other) == before
    assert Histogram.of((1.0,)) == Histogram((1.0,), [0, 0], 0.0)
