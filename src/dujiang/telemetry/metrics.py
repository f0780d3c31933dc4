"""Own counters and histograms, rendered as Prometheus text when somebody asks."""

import asyncio
import os
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from dujiang.core.call import Call
from dujiang.core.chat import Usage

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
OVERHEAD_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5)

_HELP = {
    "dujiang_calls_total": "Calls that ended, by endpoint, model, provider and outcome.",
    "dujiang_call_duration_seconds": "Seconds from the first byte of a call to its true end.",
    "dujiang_call_overhead_seconds": "Seconds until a call's answer opened, less the wait for a model.",
    "dujiang_first_token_seconds": "Seconds until a streamed call's first token.",
    "dujiang_tokens_total": "Tokens by model and kind.",
    "dujiang_attempts_total": "Attempts at a target, by the error that ended them.",
    "dujiang_records_appended_total": "Records that the journal took.",
    "dujiang_records_dropped_total": "Records that the journal could not take.",
    "dujiang_records_waiting_bytes": "Bytes of the journal that are not in the database yet.",
    "dujiang_config_revision": "The configuration's revision at work.",
    "dujiang_config_stale": "1 while a newer revision cannot be taken up, else 0.",
    "dujiang_config_reloads_total": "Revisions taken up since the start.",
    "dujiang_unauthenticated_total": "Requests without a valid key.",
    "dujiang_calls_in_flight": "Calls that have not ended.",
    "dujiang_uptime_seconds": "Seconds since this process started to serve.",
    "dujiang_process_resident_bytes": "Resident memory of this process.",
    "dujiang_process_open_descriptors": "Open file descriptors of this process.",
    "dujiang_event_loop_tasks": "Tasks of this process's event loop.",
}

_PROC = Path("/proc/self")

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


class Histogram:
    """Counts of observations by upper bound, as Prometheus wants them."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def render(self, name: str) -> list[str]:
        lines: list[str] = []
        running = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            running += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {running}')
        running += self.counts[-1]
        lines.append(f'{name}_bucket{{le="+Inf"}} {running}')
        return [*lines, f"{name}_sum {self.total:.6f}", f"{name}_count {running}"]


class Metrics:
    """The counters of one process. Label values come from the configuration or from fixed words, never from a body."""

    def __init__(self) -> None:
        self.started_at = time.monotonic()
        self.in_flight = 0
        self.unauthenticated = 0
        self._calls: defaultdict[tuple[str, ...], int] = defaultdict(int)
        self._attempts: defaultdict[tuple[str, ...], int] = defaultdict(int)
        self._tokens: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._duration = Histogram(SECONDS)
        self._overhead = Histogram(OVERHEAD_SECONDS)
        self._first_token = Histogram(SECONDS)

    @property
    def uptime_s(self) -> float:
        return time.monotonic() - self.started_at

    def opened(self, call: Call) -> None:
        elapsed_s = time.monotonic() - call.started
        self._overhead.observe(elapsed_s - call.upstream_s)
        if call.request.stream:
            self._first_token.observe(elapsed_s)

    def ended(self, call: Call, outcome: str, usage: Usage | None) -> None:
        self._duration.observe(time.monotonic() - call.started)
        self._calls[call.kind, call.model, call.provider, outcome] += 1
        for attempt in call.attempts:
            self._attempts[attempt.target, attempt.error or "none"] += 1
        if usage is not None:
            spent = self._tokens[call.model]
            spent[0] += usage.prompt_tokens
            spent[1] += usage.completion_tokens

    def _tokens_by_kind(self) -> dict[tuple[str, ...], int]:
        kinds = ("prompt", "completion")
        return {(model, kind): n for model, spent in self._tokens.items() for kind, n in zip(kinds, spent, strict=True)}

    def render(self, journal: JournalCounts, config: ConfigCounts) -> str:
        """The exposition format of Prometheus, version 0.0.4."""
        values = {
            "dujiang_calls_total": _labelled(self._calls, ("endpoint", "model", "provider", "outcome")),
            "dujiang_tokens_total": _labelled(self._tokens_by_kind(), ("model", "kind")),
            "dujiang_attempts_total": _labelled(self._attempts, ("target", "error")),
            "dujiang_records_appended_total": [f" {journal.appended}"],
            "dujiang_records_dropped_total": [f" {journal.dropped}"],
            "dujiang_records_waiting_bytes": [f" {journal.waiting_bytes}"],
            "dujiang_config_revision": [f" {config.revision}"],
            "dujiang_config_stale": [f" {int(config.is_stale)}"],
            "dujiang_config_reloads_total": [f" {config.reloads}"],
            "dujiang_unauthenticated_total": [f" {self.unauthenticated}"],
            "dujiang_calls_in_flight": [f" {self.in_flight}"],
            "dujiang_uptime_seconds": [f" {self.uptime_s:.3f}"],
            "dujiang_process_resident_bytes": _resident_bytes(),
            "dujiang_process_open_descriptors": _open_descriptors(),
            "dujiang_event_loop_tasks": [f" {len(asyncio.all_tasks())}"],
        }
        histograms = {
            "dujiang_call_duration_seconds": self._duration,
            "dujiang_call_overhead_seconds": self._overhead,
            "dujiang_first_token_seconds": self._first_token,
        }
        lines: list[str] = []
        for name, text in _HELP.items():
            kind = "histogram" if name in histograms else "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += histograms[name].render(name) if name in histograms else [name + value for value in values[name]]
        return "\n".join(lines) + "\n"


def _labelled(counts: Mapping[tuple[str, ...], int], names: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    for key, count in sorted(counts.items()):
        labels = ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, key, strict=True))
        lines.append(f"{{{labels}}} {count}")
    return lines


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _resident_bytes() -> list[str]:
    """A sample where the system has `/proc`, none elsewhere."""
    statm = _PROC / "statm"
    if not statm.exists():
        return []
    return [f" {int(statm.read_text('ascii').split()[1]) * os.sysconf('SC_PAGE_SIZE')}"]


def _open_descriptors() -> list[str]:
    """A sample where the system has `/proc`, none elsewhere."""
    descriptors = _PROC / "fd"
    return [f" {sum(1 for _ in descriptors.iterdir())}"] if descriptors.exists() else []
