"""CPU time and memory per call of the gateway, interleaved with nginx `proxy_pass` and the reference prototype.

The figure to trust is CPU time per call: user and system time of the server's whole process tree, from the first
call until the server is idle again and has stored the record of every call, over the calls answered. Throughput and
latency move with whatever else the machine does. Each round visits every target once, so that drift falls on all alike;
figures are medians over the rounds, a ratio is the median of the rounds' ratios. A run that saw a single error is
discarded and named.
"""

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from benchmarks import load, processes, report
from benchmarks.client import Load
from benchmarks.targets import PROTOTYPE, STREAM_EVENTS, Target, Yard, default_reference

_RESULT = Path(__file__).parent / "results" / "gateway.json"
_CONNECTIONS = (16, 64)
_STREAMS = 100
_EVENT_MS = 10
_SLOW_CALLS = 2000
_SLOW_MS = 2000
_STORED_S = 120.0


class Sample(msgspec.Struct, frozen=True):
    """One run of one target in one round."""

    target: str
    connections: int
    round: int
    cpu_us: float
    rss_mb: float
    load: Load


class Bench:
    """Runs loads and keeps their samples."""

    def __init__(self, console: Console, *, rounds: int, secs: int) -> None:
        self._console = console
        self._rounds = rounds
        self._secs = secs
        self._load_core = processes.cores()[1]
        self.discarded: list[str] = []
        self.not_stored: list[str] = []

    def whole(self, targets: list[Target]) -> list[report.WholeRow]:
        """Rounds of whole answers at each number of connections."""
        for target in targets:
            load.whole(target.whole, connections=16, seconds=1, core=self._load_core)
        samples = [
            self._sample(target, connections, number, is_streamed=False)
            for number in range(self._rounds)
            for connections in _CONNECTIONS
            for target in targets
        ]
        return [_whole_row(runs, samples) for runs in _grouped(samples)]

    def streams(self, targets: list[Target]) -> list[report.StreamRow]:
        """Rounds of concurrent streams."""
        samples = [
            self._sample(target, _STREAMS, number, is_streamed=True)
            for number in range(self._rounds)
            for target in targets
        ]
        return [_stream_row(runs, samples) for runs in _grouped(samples)]

    def slow(self, targets: list[Target]) -> list[report.SlowRow]:
        """Many calls in flight at once, each on a fresh server that has served a few: the growth of memory, by call."""
        rows = [row for target in targets if (row := self._slow_row(target)) is not None]
        base = next((row.kib_per_call for row in rows if row.target == PROTOTYPE), None)
        return [msgspec.structs.replace(row, ratio=row.kib_per_call / base if base else None) for row in rows]

    def _sample(self, target: Target, connections: int, number: int, *, is_streamed: bool) -> Sample | None:
        what = f"{'streams' if is_streamed else 'whole'}: {target.name}, {connections} connections, round {number + 1}"
        self._console.print(what, style="dim")
        processes.wait_until_idle(target.server.pid)
        before = processes.cpu_s(target.server.pid)
        if is_streamed:
            seen = load.streams(
                target.stream,
                connections=connections,
                repeats=self._secs,
                events=STREAM_EVENTS,
                core=self._load_core,
            )
        else:
            seen = load.whole(target.whole, connections=connections, seconds=self._secs, core=self._load_core)
        self._settle(what, target)
        used_us = (processes.cpu_s(target.server.pid) - before) * 1e6
        if not self._counts(what, seen):
            return None
        units = seen.events if is_streamed else seen.calls
        rss_mb = processes.pss_kib(target.server.pid) / 1024
        return Sample(target.name, connections, number, used_us / units, rss_mb, seen)

    def _slow_row(self, target: Target) -> report.SlowRow | None:
        what = f"slow: {target.name}, {_SLOW_CALLS} calls"
        self._console.print(what, style="dim")
        target.server.restart()
        load.finish(load.start_burst(target.whole, connections=20, core=self._load_core))
        self._settle(what, target)
        pid = target.server.pid
        idle_kib, idle_s = processes.pss_kib(pid), processes.cpu_s(pid)
        client = load.start_burst(target.whole, connections=_SLOW_CALLS, core=self._load_core)
        most_kib = idle_kib
        while client.poll() is None:
            most_kib = max(most_kib, processes.pss_kib(pid))
            time.sleep(0.1)
        seen = load.finish(client)
        self._settle(what, target)
        if not self._counts(what, seen):
            return None
        cpu_us = (processes.cpu_s(pid) - idle_s) * 1e6 / seen.calls
        kib = (most_kib - idle_kib) / _SLOW_CALLS
        return report.SlowRow(target.name, _SLOW_CALLS, kib, cpu_us, seen.p50_ms, seen.p99_ms)

    def _settle(self, what: str, target: Target) -> None:
        """Wait until nothing is left to do for the calls that were answered."""
        if not processes.wait_until(target.has_stored_all, _STORED_S):
            self.not_stored.append(f"{what}: after {_STORED_S:.0f} s")
        processes.wait_until_idle(target.server.pid)

    def _counts(self, what: str, seen: Load) -> bool:
        """A run with a single error measures something else than calls: it is left out, and said so."""
        if seen.errors or not seen.calls:
            self.discarded.append(f"{what}: {seen.errors} errors in {seen.calls} calls")
            return False
        return True


def _grouped(samples: list[Sample | None]) -> list[list[Sample]]:
    groups: dict[tuple[int, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample is not None:
            groups[sample.connections, sample.target].append(sample)
    return list(groups.values())


def _ratio(runs: list[Sample], samples: list[Sample | None]) -> float | None:
    """The median over the rounds of the target's CPU time over the prototype's in the same round."""
    base = {(s.connections, s.round): s.cpu_us for s in samples if s is not None and s.target == PROTOTYPE}
    ratios = [run.cpu_us / base[run.connections, run.round] for run in runs if (run.connections, run.round) in base]
    return statistics.median(ratios) if ratios else None


def _whole_row(runs: list[Sample], samples: list[Sample | None]) -> report.WholeRow:
    return report.WholeRow(
        target=runs[0].target,
        connections=runs[0].connections,
        cpu_us=statistics.median(run.cpu_us for run in runs),
        rps=statistics.median(run.load.calls / run.load.seconds for run in runs),
        p50_ms=statistics.median(run.load.p50_ms for run in runs),
        p99_ms=statistics.median(run.load.p99_ms for run in runs),
        rss_mb=statistics.median(run.rss_mb for run in runs),
        rounds=len(runs),
        ratio=_ratio(runs, samples),
    )


def _stream_row(runs: list[Sample], samples: list[Sample | None]) -> report.StreamRow:
    return report.StreamRow(
        target=runs[0].target,
        streams=runs[0].connections,
        cpu_us_per_event=statistics.median(run.cpu_us for run in runs),
        events=sum(run.load.events for run in runs),
        p50_ms=statistics.median(run.load.p50_ms for run in runs),
        p99_ms=statistics.median(run.load.p99_ms for run in runs),
        rounds=len(runs),
        ratio=_ratio(runs, samples),
    )


def main(
    *,
    rounds: Annotated[int, typer.Option(help="Rounds, each visiting every target once.", min=1)] = 5,
    secs: Annotated[
        int, typer.Option(help="Seconds of whole answers, and streams per connection, in a round.", min=1)
    ] = 3,
    only: Annotated[
        str, typer.Option(help="Targets, by semicolon: prototype; nginx; dujiang; dujiang, content none.")
    ] = "",
    kinds: Annotated[str, typer.Option(help="Kinds of load, by comma: whole, streams, slow.")] = "whole,streams,slow",
    data: Annotated[Path, typer.Option(help="Folder of the reference: mock.c and proto/.")] = default_reference(),
    json: Annotated[Path, typer.Option(help="Where the result is written.")] = _RESULT,
) -> None:
    """CPU time per call, per streamed event and memory per call in flight."""
    console = Console() if sys.stdout.isatty() else Console(width=120)
    processes.allow_many_files()
    bench = Bench(console, rounds=rounds, secs=secs)
    out = report.Report("gateway", _protocol(rounds, secs), str(data.name), report.machine())
    try:
        _measure(bench, out, data, [name for name in only.split(";") if name], set(kinds.split(",")))
    except processes.ServerFailed as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error
    out.write(json)
    out.print(console)
    console.print(f"written to {json}", style="dim")


def _measure(bench: Bench, out: report.Report, data: Path, names: list[str], kinds: set[str]) -> None:
    """Fill the report. Each kind of load has servers of its own in front of an upstream that suits it."""
    with tempfile.TemporaryDirectory(prefix="dujiang-bench-") as folder:
        for kind in sorted(kinds, reverse=True):
            with Yard(Path(folder, kind), data, processes.cores()) as yard:
                out.upstream, out.left_out = yard.upstream_kind, yard.left_out
                if kind == "whole":
                    out.rows = bench.whole(yard.start_targets(yard.start_upstream(0), names))
                elif kind == "streams":
                    out.streams = bench.streams(yard.start_targets(yard.start_upstream(0, _EVENT_MS), names))
                elif kind == "slow":
                    out.slow_calls = bench.slow(yard.start_targets(yard.start_upstream(_SLOW_MS), names))
                else:
                    raise typer.BadParameter(kind, param_hint="--kinds")
    out.discarded, out.not_stored = bench.discarded, bench.not_stored


def _protocol(rounds: int, secs: int) -> str:
    pinning = "nothing pinned" if processes.cores()[0] is None else "server on one core, load and upstream on another"
    return f"{rounds} rounds of {secs} s interleaved, medians; load by {load.generator()}; {pinning}"


if __name__ == "__main__":
    typer.run(main)
