"""Own counters and histograms, rendered as Prometheus text when somebody asks."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct, structs

from dujiang.core.call import Call
from dujiang.core.chat import Usage
from dujiang.telemetry.counts import Counts, Histogram, Levels, Sample, TargetKey, TargetLevels

_HELP = {
    "dujiang_calls_total": "Calls that ended, by endpoint, model, provider and outcome.",
    "dujiang_call_duration_seconds": "Seconds from the first byte of a call to its true end.",
    "dujiang_call_overhead_seconds": "Seconds until a call's answer opened, less the wait for a model.",
    "dujiang_first_token_seconds": "Seconds until a streamed call's first token.",
    "dujiang_tokens_total": "Tokens by model and kind.",
    "dujiang_attempts_total": "Attempts at a target, by the error that ended them.",
    "dujiang_retries_total": "Attempts after a call's first, by why they were made.",
    "dujiang_queue_seconds": "Seconds that calls waited for a place, a target or a retry, of those that waited.",
    "dujiang_queue_waiting": "Calls that wait for a place at a model.",
    "dujiang_queue_refused_total": "Calls that were refused a place at a model, by why.",
    "dujiang_breaker_opened_total": "Times that the breaker of a target opened.",
    "dujiang_target_workers": "Workers that see a target in a state.",
    "dujiang_target_in_flight": "Calls that a target is answering.",
    "dujiang_target_limit": "Calls that a target gets at once, as declared or learnt.",
    "dujiang_records_appended_total": "Records that the journal took.",
    "dujiang_records_dropped_total": "Records that the journal could not take.",
    "dujiang_records_waiting_bytes": "Bytes of the journal that are not in the database yet.",
    "dujiang_config_revision": "The configuration's revision at work, the oldest of all workers.",
    "dujiang_config_stale": "1 while a newer revision cannot be taken up, else 0.",
    "dujiang_config_reloads_total": "Revisions taken up since the start.",
    "dujiang_unauthenticated_total": "Requests without a valid key.",
    "dujiang_calls_in_flight": "Calls that have not ended.",
    "dujiang_uptime_seconds": "Seconds since the server started.",
    "dujiang_process_resident_bytes": "Resident memory, by worker.",
    "dujiang_process_open_descriptors": "Open file descriptors, by worker.",
    "dujiang_event_loop_tasks": "Tasks of the event loop, by worker.",
    "dujiang_workers": "Workers that there should be.",
    "dujiang_workers_silent": "Workers that did not answer, or do not live: their calls in flight are not here.",
}

_PROC = Path("/proc/self")
_TARGET = ("model", "target", "credential")

METRICS = tuple(_HELP)
"""Every metric's name; the documentation lists them all."""


class JournalCounts(Struct, frozen=True):
    """What the journal tells: records taken and not taken, and bytes that wait."""

    appended: int
    dropped: int
    waiting_bytes: int


class ConfigCounts(Struct, frozen=True):
    """What the configuration tells: the revision at work, whether a newer one cannot be, and how often it changed."""

    revision: int
    is_stale: bool
    reloads: int


class ModelCounts(Struct, frozen=True):
    """What the models tell: how often breakers opened, whom queues refused, how targets stand, who waits."""

    opened: dict[TargetKey, int]
    refused: dict[tuple[str, str], int]
    targets: dict[TargetKey, TargetLevels]
    waiting: dict[str, int]


class Metrics:
    """The counters of one process. Label values come from the configuration or from fixed words, never from a body."""

    def __init__(self, started_at: float | None = None) -> None:
        """`started_at` is when the server started, in monotonic seconds, which all processes of a machine share."""
        self.started_at = time.monotonic() if started_at is None else started_at
        self.in_flight = 0
        self.unauthenticated = 0
        self._counts = Counts()

    @property
    def uptime_s(self) -> float:
        return time.monotonic() - self.started_at

    def opened(self, call: Call) -> None:
        elapsed_s = time.monotonic() - call.started
        self._counts.overhead.observe(elapsed_s - call.upstream_s)
        if call.request.stream:
            self._counts.first_token.observe(elapsed_s)

    def ended(self, call: Call, outcome: str, usage: Usage | None) -> None:
        counts = self._counts
        counts.duration.observe(time.monotonic() - call.started)
        key = (call.kind, call.model, call.provider, outcome)
        counts.calls[key] = counts.calls.get(key, 0) + 1
        for attempt in call.attempts:
            met = (attempt.target, attempt.error or "none")
            counts.attempts[met] = counts.attempts.get(met, 0) + 1
            if attempt.why != "first":
                again = (attempt.target, attempt.why)
                counts.retries[again] = counts.retries.get(again, 0) + 1
        if call.waited_s:
            counts.waits.observe(call.waited_s)
        if usage is not None:
            prompt, completion = (call.model, "prompt"), (call.model, "completion")
            counts.tokens[prompt] = counts.tokens.get(prompt, 0) + usage.prompt_tokens
            counts.tokens[completion] = counts.tokens.get(completion, 0) + usage.completion_tokens

    def sample(self, worker: int, journal: JournalCounts, config: ConfigCounts, models: ModelCounts) -> Sample:
        """Everything that this process, the worker of that number, tells."""
        counts = structs.replace(
            self._counts,
            opened=models.opened,
            refused=models.refused,
            unauthenticated=self.unauthenticated,
            appended=journal.appended,
            dropped=journal.dropped,
            reloads=config.reloads,
        )
        levels = Levels(
            self.in_flight,
            journal.waiting_bytes,
            config.revision,
            config.is_stale,
            self.uptime_s,
            len(asyncio.all_tasks()),
            _resident_bytes(),
            _open_descriptors(),
            models.targets,
            models.waiting,
        )
        return Sample(worker, counts, levels)


def render(samples: Sequence[Sample], workers: int, silent: int) -> str:
    """What some workers of one server tell, as one, in the exposition format of Prometheus, version 0.0.4."""
    counts = Counts()
    for sample in samples:
        counts.add(sample.counts)
    histograms = {
        "dujiang_call_duration_seconds": counts.duration,
        "dujiang_call_overhead_seconds": counts.overhead,
        "dujiang_first_token_seconds": counts.first_token,
        "dujiang_queue_seconds": counts.waits,
    }
    values = {**_counted(counts), **_standing(samples)}
    values |= {"dujiang_workers": [f" {workers}"], "dujiang_workers_silent": [f" {silent}"]}
    lines: list[str] = []
    for name, text in _HELP.items():
        kind = "histogram" if name in histograms else "counter" if name.endswith("_total") else "gauge"
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        lines += _buckets(name, histograms[name]) if name in histograms else [name + value for value in values[name]]
    return "\n".join(lines) + "\n"


def _counted(counts: Counts) -> dict[str, list[str]]:
    return {
        "dujiang_calls_total": _labelled(counts.calls, ("endpoint", "model", "provider", "outcome")),
        "dujiang_tokens_total": _labelled(counts.tokens, ("model", "kind")),
        "dujiang_attempts_total": _labelled(counts.attempts, ("target", "error")),
        "dujiang_retries_total": _labelled(counts.retries, ("target", "why")),
        "dujiang_queue_refused_total": _labelled(counts.refused, ("model", "reason")),
        "dujiang_breaker_opened_total": _labelled(counts.opened, _TARGET),
        "dujiang_records_appended_total": [f" {counts.appended}"],
        "dujiang_records_dropped_total": [f" {counts.dropped}"],
        "dujiang_config_reloads_total": [f" {counts.reloads}"],
        "dujiang_unauthenticated_total": [f" {counts.unauthenticated}"],
    }


def _standing(samples: Iterable[Sample]) -> dict[str, list[str]]:
    """All workers look at the same journal, and started with the same parent: of that, one is shown."""
    levels = {sample.worker: sample.levels for sample in samples if sample.levels is not None}
    every = list(levels.values())
    return {
        **_standing_of_models(every),
        "dujiang_records_waiting_bytes": [f" {max(each.waiting_bytes for each in every)}"],
        "dujiang_config_revision": [f" {min(each.revision for each in every)}"],
        "dujiang_config_stale": [f" {int(any(each.is_stale for each in every))}"],
        "dujiang_calls_in_flight": [f" {sum(each.in_flight for each in every)}"],
        "dujiang_uptime_seconds": [f" {max(each.uptime_s for each in every):.3f}"],
        "dujiang_process_resident_bytes": _by_worker({n: each.resident_bytes for n, each in levels.items()}),
        "dujiang_process_open_descriptors": _by_worker({n: each.descriptors for n, each in levels.items()}),
        "dujiang_event_loop_tasks": _by_worker({n: each.tasks for n, each in levels.items()}),
    }


def _standing_of_models(every: Iterable[Levels]) -> dict[str, list[str]]:
    """Each worker has its own view of a target, and its own share of the limit."""
    waiting: Counter[tuple[str, ...]] = Counter()
    workers: Counter[tuple[str, ...]] = Counter()
    in_flight: Counter[tuple[str, ...]] = Counter()
    limit: Counter[tuple[str, ...]] = Counter()
    for levels in every:
        for model, count in levels.waiting.items():
            waiting[model,] += count
        for key, target in levels.targets.items():
            workers[*key, target.state] += 1
            in_flight[key] += target.in_flight
            limit[key] += target.limit
    return {
        "dujiang_queue_waiting": _labelled(waiting, ("model",)),
        "dujiang_target_workers": _labelled(workers, (*_TARGET, "state")),
        "dujiang_target_in_flight": _labelled(in_flight, _TARGET),
        "dujiang_target_limit": _labelled(limit, _TARGET),
    }


def _by_worker(values: Mapping[int, int | None]) -> list[str]:
    known = {(str(worker),): value for worker, value in values.items() if value is not None}
    return _labelled(known, ("worker",))


def _buckets(name: str, histogram: Histogram) -> list[str]:
    lines: list[str] = []
    running = 0
    for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
        running += count
        lines.append(f'{name}_bucket{{le="{bound}"}} {running}')
    running += histogram.counts[-1]
    lines.append(f'{name}_bucket{{le="+Inf"}} {running}')
    return [*lines, f"{name}_sum {histogram.total:.6f}", f"{name}_count {running}"]


def _labelled(counts: Mapping[tuple[str, ...], int], names: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    for key, count in sorted(counts.items()):
        labels = ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, key, strict=True))
        lines.append(f"{{{labels}}} {count}")
    return lines


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _resident_bytes() -> int | None:
    """None where the system has no `/proc`."""
    statm = _PROC / "statm"
    return int(statm.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else None


def _open_descriptors() -> int | None:
    """None where the system has no `/proc`."""
    descriptors = _PROC / "fd"
    return sum(1 for _ in descriptors.iterdir()) if descriptors.exists() else None
