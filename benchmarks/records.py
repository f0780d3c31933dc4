"""How fast records are stored, found, summed up and forgotten, and how that grows with their number.

Rows as `benchmarks.calls` makes them, over `--days` days ending now, are inserted in batches of 500, as the drain does.
Then each question is asked again and again with changing values. Durations include opening a day's file where it was
not open; CPU time is of the inserting process, PostgreSQL's own apart. Each number of rows has a fresh directory or
database, which is removed afterwards. PostgreSQL is the wheel's with its own defaults, on the same machine.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from msgspec import Struct
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.calls import APPS, USERS_OF_AN_APP, Traffic
from benchmarks.places import Place, postgres_place, sqlite_place
from benchmarks.report import machine
from dujiang.records.moments import DAY_MS, iso
from dujiang.records.query import RecordQuery, Scope, parse_query
from dujiang.records.record import Record
from dujiang.records.service import Page
from dujiang.records.stats_query import parse_stats

Database = Literal["sqlite", "postgresql"]

_FOLDER = Path(__file__).parent / "results"
_RESULTS: dict[Database, Path] = {
    "sqlite": _FOLDER / "records.json",
    "postgresql": _FOLDER / "records-postgresql.json",
}
_PLACES: dict[Database, Callable[[], AbstractContextManager[Place]]] = {
    "sqlite": sqlite_place,
    "postgresql": postgres_place,
}
_BATCH = 500
_ASKED = 100
_SAMPLED = 2_000

Ask = Callable[[], object]


class Row(Struct, frozen=True):
    """A question and its durations over many askings, in milliseconds."""

    rows: int
    days: int
    question: str
    p50_ms: float
    p95_ms: float
    max_ms: float


class Load(Struct, frozen=True):
    """What storing came to. `drop_ms` is the longest that forgetting one day took; `server_cpu_us_per_row` is what the
    database's own processes used, None where there are none.
    """

    rows: int
    days: int
    rows_per_s: float
    cpu_us_per_row: float
    server_cpu_us_per_row: float | None
    bytes_per_row: float
    export_rows_per_s: float
    drop_ms: float


class Report(Struct):
    name: str
    data: str
    protocol: str
    seeds: list[int]
    machine: dict[str, str]
    loads: list[Load]
    rows: list[Row]


class Bench:
    """One number of rows in one place."""

    def __init__(self, place: Place, count: int, days: int, seed: int) -> None:
        self._count = count
        self._days = days
        self._now_ms = int(time.time() * 1000)
        self._traffic = Traffic(seed, content_share=0.1)
        self._random = random.Random(seed)  # noqa: S311 a benchmark draws no secrets
        self._sample: list[Record] = []
        self._place = place
        self._sink = place.sink()
        self.records = place.records()

    def load(self, console: Console) -> tuple[float, float, float | None]:
        """Rows per second, and CPU microseconds per row here and in the database; making them up is not counted."""
        start_ms = self._now_ms - self._days * DAY_MS
        rows = self._traffic.spread(self._count, start_ms=start_ms, end_ms=self._now_ms)
        wall_s = cpu_s = 0.0
        keep = _SAMPLED / self._count
        server_s = self._place.cpu_s()
        for batch in track(_batches(rows), "storing", total=-(-self._count // _BATCH), console=console):
            self._sample += [row for row in batch if self._random.random() < keep]
            wall, cpu = time.perf_counter(), time.process_time()
            self._sink.insert(batch)
            wall_s += time.perf_counter() - wall
            cpu_s += time.process_time() - cpu
        self._place.settle()
        used_s = None if server_s is None else (self._place.cpu_s() or 0.0) - server_s
        return self._count / wall_s, cpu_s / self._count * 1e6, None if used_s is None else used_s / self._count * 1e6

    def bytes_per_row(self) -> float:
        return self._place.size_bytes() / self._count

    def questions(self) -> dict[str, Ask]:
        day = iso(self._now_ms - DAY_MS)
        everything = iso(self._now_ms - self._days * DAY_MS)
        return {
            "first page": self._list,
            "hundredth page": self._deep_page(),
            "app": lambda: self._list(app=self._app()),
            "user of an app": lambda: self._list(app=self._app(), user_id=self._user()),
            "user": lambda: self._list(user_id=self._user()),
            "request id": lambda: self._list(request_id=self._one().request_id),
            "request id that is not there": lambda: self._list(request_id="nowhere"),
            "status error": lambda: self._list(status="error"),
            "status cut of an app": lambda: self._list(app=self._app(), status="cut"),
            "made with a key": self._own,
            "one record": lambda: self.records.get(self._one().id, Scope(), with_content=True),
            "model, 24 h": lambda: self._list(from_=day, model="gpt-4", app=self._app()),
            "model that is not there, 24 h": lambda: self._list(from_=day, model="nothing"),
            "q, 24 h": lambda: self._list(from_=day, q=self._one().request_id[:7]),
            "slowest, 24 h": lambda: self._list(from_=day, sort="-total_ms"),
            "stats of an app by hour, 24 h": lambda: self._stats(day, app=self._app(), group_by="hour"),
            "stats by model and status, all days": lambda: self._stats(everything, group_by="model,status"),
            "stats of an app by day, all days": lambda: self._stats(everything, app=self._app(), group_by="day"),
            "stats by scene, all days": lambda: self._stats(everything, group_by="scene"),
            "stats by user of an app, 24 h": lambda: self._stats(day, app=self._app(), group_by="user"),
        }

    def export_rate(self) -> float:
        """Rows per second of an export of up to 100,000 rows."""
        started = time.perf_counter()
        pages = islice(self.records.export(parse_query([], self._now_ms), Scope()), 100)
        return sum(len(page) for page in pages) / (time.perf_counter() - started)

    def drop_ms(self) -> float:
        """Forgets every day, the oldest first."""
        longest = 0.0
        for day in reversed(self._sink.days()):
            started = time.perf_counter()
            self._sink.drop(day)
            longest = max(longest, time.perf_counter() - started)
        return longest * 1000

    def close(self) -> None:
        self.records.close()
        self._sink.close()

    def _list(self, **parameters: str) -> Page:
        given = [(name.rstrip("_"), text) for name, text in parameters.items()]
        return self.records.list(parse_query(given, self._now_ms), Scope())

    def _own(self) -> Page:
        one = self._one()
        return self.records.list(RecordQuery(), Scope(one.app, one.key_id))

    def _stats(self, since: str, **parameters: str) -> object:
        return self.records.stats(parse_stats([("from", since), *parameters.items()], self._now_ms), Scope())

    def _deep_page(self) -> Ask:
        query = RecordQuery()
        for _ in range(99):
            query = RecordQuery(cursor=self.records.list(query, Scope()).next_cursor)
        return lambda: self.records.list(query, Scope())

    def _one(self) -> Record:
        return self._random.choice(self._sample)

    def _app(self) -> str:
        return self._random.choice(APPS)

    def _user(self) -> str:
        return f"user-{self._random.randrange(USERS_OF_AN_APP)}"


def _batches(rows: Iterator[Record]) -> Iterator[list[Record]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch


def _measured(ask: Ask, times: int) -> list[float]:
    """Sorted, in milliseconds."""
    found: list[float] = []
    for _ in range(times):
        started = time.perf_counter()
        ask()
        found.append((time.perf_counter() - started) * 1000)
    return sorted(found)


def _run(place: Place, count: int, days: int, seed: int, console: Console) -> tuple[Load, list[Row]]:
    bench = Bench(place, count, days, seed)
    try:
        console.print(f"{count:,} rows over {days} days", style="dim")
        rate, cpu_us, server_us = bench.load(console)
        rows: list[Row] = []
        for question, ask in track(bench.questions().items(), "asking", console=console):
            found = _measured(ask, _ASKED)
            p50, p95 = statistics.median(found), found[int(len(found) * 0.95)]
            rows.append(Row(count, days, question, round(p50, 2), round(p95, 2), round(found[-1], 2)))
        size, export_rate = bench.bytes_per_row(), bench.export_rate()
        load = Load(
            count,
            days,
            round(rate),
            round(cpu_us, 1),
            None if server_us is None else round(server_us, 1),
            round(size),
            round(export_rate),
            round(bench.drop_ms(), 1),
        )
        return load, rows
    finally:
        bench.close()


def _print(report: Report, console: Console) -> None:
    loads = Table(
        "rows", "rows/s", "CPU µs/row", "server's CPU", "bytes/row", "export rows/s", "drop a day, ms", title="Storing"
    )
    for load in report.loads:
        figures = (
            load.rows_per_s,
            load.cpu_us_per_row,
            load.server_cpu_us_per_row or 0,
            load.bytes_per_row,
            load.export_rows_per_s,
            load.drop_ms,
        )
        loads.add_row(f"{load.rows:,}", *(f"{figure:,.1f}" for figure in figures))
    console.print(loads)
    table = Table("question", *(f"{load.rows:,}: p50 / p95 ms" for load in report.loads), title="Asking")
    for question in dict.fromkeys(row.question for row in report.rows):
        same = [row for row in report.rows if row.question == question]
        table.add_row(question, *(f"{row.p50_ms:.1f} / {row.p95_ms:.1f}" for row in same))
    console.print(table)


def main(
    rows: Annotated[list[int] | None, typer.Option(help="How many; several times for several runs.")] = None,
    days: Annotated[int, typer.Option(help="Over how many days.")] = 90,
    seed: Annotated[int, typer.Option(help="Of the made-up calls.")] = 1,
    json: Annotated[Path | None, typer.Option(help="Where the result goes; records.json of that database.")] = None,
    database: Annotated[Database, typer.Option(help="Which database keeps them.")] = "sqlite",
) -> None:
    """Measures storing and asking at 100,000 and 1,000,000 rows, or as many as said."""
    console = Console()
    report = Report(
        _RESULTS[database].stem, "benchmarks.calls", (__doc__ or "").split("\n")[0], [seed], machine(), [], []
    )
    for count in rows or [100_000, 1_000_000]:
        with _PLACES[database]() as place:
            load, measured = _run(place, count, days, seed, console)
        report.loads.append(load)
        report.rows += measured
        _write(json or _RESULTS[database], report)
    _print(report, console)


def _write(file: Path, report: Report) -> None:
    """After every number of rows, so that a run that is broken off leaves what it measured."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


if __name__ == "__main__":
    typer.run(main)
