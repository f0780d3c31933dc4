"""How fast records are stored, found, summed up and forgotten, and how that grows with their number.

Rows as `benchmarks.calls` makes them, over `--days` days that end at a noon (where sums by the day help least), are
stored by `benchmarks.stored`. Then, while 2,000 rows a second arrive (`benchmarks.arrivals`), each question is asked
again and again with changing values; those about 24 hours end at that noon, before what arrives. Durations include
opening a day's file where it was not open; CPU time of storing is that of the storing processes, of asking that of the
asking thread, PostgreSQL's own apart. Each number of rows has a fresh directory or server, which is removed afterwards.
PostgreSQL is the wheel's with its own defaults, on the same machine.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from msgspec import Struct
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.arrivals import Arrived, arriving
from benchmarks.calls import APPS, USERS_OF_AN_APP
from benchmarks.places import Place, postgres_place, sqlite_place
from benchmarks.report import machine
from benchmarks.stored import Stored, fill
from dujiang.core.errors import Unprocessable
from dujiang.records.moments import DAY_MS, HOUR_MS, iso, start_of
from dujiang.records.query import RecordQuery, Scope, parse_query
from dujiang.records.record import Record
from dujiang.records.service import Page
from dujiang.records.stats_query import parse_stats

Database = Literal["sqlite", "postgresql"]

_FOLDER = Path(__file__).parent / "results"
RESULTS: dict[Database, Path] = {
    "sqlite": _FOLDER / "records.json",
    "postgresql": _FOLDER / "records-postgresql.json",
}
_PLACES: dict[Database, Callable[[], AbstractContextManager[Place]]] = {
    "sqlite": sqlite_place,
    "postgresql": postgres_place,
}
_ASKED, _ASKED_AT_LEAST = 100, 20
_ASKING_S = 8.0
_END_MS = start_of(date(2026, 6, 1)) + 12 * HOUR_MS

_GROUPS = ("app", "role", "model", "provider", "scene", "status", "day", "model,status", "role,scene")

Ask = Callable[[], object]


class Row(Struct, frozen=True):
    """A question and its durations over many askings. `cpu_p95_ms` is what the machine's other work leaves alone."""

    rows: int
    days: int
    question: str
    p50_ms: float
    p95_ms: float
    max_ms: float
    cpu_p95_ms: float
    asked: int
    refused: int
    """As taking longer than the two seconds that a question may take."""


class Load(Struct, frozen=True):
    """What storing came to. `fill_s` is how long it took with making the rows up, in two processes at once; `drop_ms`
    the longest that forgetting one day took; `arrived` what was stored while questions were asked;
    `server_cpu_us_per_row` what the database's own processes used while rows were stored, None where there are none.
    """

    rows: int
    days: int
    fill_s: float
    rows_per_s: float
    cpu_us_per_row: float
    bytes_per_row: float
    export_rows_per_s: float
    drop_ms: float
    arrived: Arrived
    server_cpu_us_per_row: float | None = None


LOAD_FIGURES: dict[str, Callable[[Load], str | None]] = {
    "made up and stored, s": lambda load: f"{load.fill_s:,.0f}",
    "CPU µs a row, stored day after day": lambda load: f"{load.cpu_us_per_row:.1f}",
    "CPU µs a row in the database's processes": lambda load: _tenths(load.server_cpu_us_per_row),
    "bytes a row": lambda load: f"{load.bytes_per_row:,.0f}",
    "rows/s that arrived while questions were asked": lambda load: f"{load.arrived.rows_per_s:,.0f}",
    "their CPU µs a row": lambda load: f"{load.arrived.cpu_us_per_row:.1f}",
    "the last of them late by, s": lambda load: f"{load.arrived.late_s:.2f}",
    "at most late by, s": lambda load: f"{load.arrived.max_late_s:.2f}",
    "rows/s exported": lambda load: f"{load.export_rows_per_s:,.0f}",
    "a day dropped, ms at most": lambda load: f"{load.drop_ms:.1f}",
}


"""What there is to say of a load, None where it has no such figure."""


def _tenths(figure: float | None) -> str | None:
    return None if figure is None else f"{figure:.1f}"


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

    def __init__(self, place: Place, stored: Stored, days: int, seed: int) -> None:
        self._days = days
        self._random = random.Random(seed)  # noqa: S311 a benchmark draws no secrets
        self._sample = stored.sample
        self._began_s = time.monotonic()
        self.records = place.records(lambda: self._now_ms() / 1000)

    def _now_ms(self) -> int:
        return _END_MS + round((time.monotonic() - self._began_s) * 1000)

    def questions(self) -> dict[str, Ask]:
        day = {"from_": iso(_END_MS - DAY_MS + HOUR_MS), "to": iso(_END_MS)}
        everything = iso(_END_MS - self._days * DAY_MS)
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
            "model, 24 h": lambda: self._list(**day, model="gpt-4", app=self._app()),
            "model that is not there, 24 h": lambda: self._list(**day, model="nothing"),
            "q, 24 h": lambda: self._list(**day, q=self._one().request_id[:7]),
            "slowest, 24 h": lambda: self._list(**day, sort="-total_ms"),
            "stats of an app by hour, 24 h": lambda: self._stats(**day, app=self._app(), group_by="hour"),
            "stats by app and hour, 24 h": lambda: self._stats(**day, group_by="app,hour"),
            "stats by user of an app, 24 h": lambda: self._stats(**day, app=self._app(), group_by="user"),
            "stats by user of the largest app, 24 h": lambda: self._stats(**day, app=APPS[0], group_by="user"),
            **{f"stats by {group}, all days": self._sums(everything, group) for group in _GROUPS},
            "stats of an app by day, all days": lambda: self._stats(from_=everything, app=self._app(), group_by="day"),
            "stats of an app by hour, all days": lambda: self._stats(
                from_=everything, app=self._app(), group_by="hour"
            ),
            "stats by hour, all days": lambda: self._stats(from_=everything, group_by="hour"),
        }

    def _sums(self, since: str, group_by: str) -> Ask:
        return lambda: self._stats(from_=since, group_by=group_by)

    def export_rate(self) -> float:
        """Rows per second of an export of up to 100,000 rows."""
        started = time.perf_counter()
        pages = islice(self.records.export(parse_query([], self._now_ms()), Scope()), 100)
        return sum(len(page) for page in pages) / (time.perf_counter() - started)

    def close(self) -> None:
        self.records.close()

    def _list(self, **parameters: str) -> Page:
        return self.records.list(parse_query(_given(parameters), self._now_ms()), Scope())

    def _stats(self, **parameters: str) -> object:
        return self.records.stats(parse_stats(_given(parameters), self._now_ms()), Scope())

    def _own(self) -> Page:
        one = self._one()
        return self.records.list(RecordQuery(), Scope(one.app, one.key_id))

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


def _given(parameters: dict[str, str]) -> list[tuple[str, str]]:
    """`from` is a word of Python's and written `from_`."""
    return [(name.rstrip("_"), text) for name, text in parameters.items()]


def _measured(ask: Ask) -> list[tuple[float, float, bool]]:
    """For each asking, milliseconds that passed and that were worked, and whether it was refused as taking too long.

    A hundred, fewer where those take long.
    """
    found: list[tuple[float, float, bool]] = []
    until_s = time.monotonic() + _ASKING_S
    while len(found) < _ASKED and (len(found) < _ASKED_AT_LEAST or time.monotonic() < until_s):
        is_refused = False
        wall_s, cpu_s = time.perf_counter(), time.thread_time()
        try:
            ask()
        except Unprocessable:
            is_refused = True
        found.append(((time.perf_counter() - wall_s) * 1000, (time.thread_time() - cpu_s) * 1000, is_refused))
    return found


def _run(place: Place, count: int, days: int, seed: int, console: Console) -> tuple[Load, list[Row]]:
    console.print(f"{count:,} rows over {days} days", style="dim")
    server_s, began_s = place.cpu_s(), time.monotonic()
    stored = fill(place, count, days, _END_MS, seed)
    fill_s = time.monotonic() - began_s
    place.settle()
    used_s = None if server_s is None else (place.cpu_s() or 0.0) - server_s
    size = place.size_bytes()
    bench = Bench(place, stored, days, seed)
    try:
        with arriving(place, _END_MS, seed + 2) as arrivals:
            rows = list(_asked(bench, count, days))
        export_rate = bench.export_rate()
    finally:
        bench.close()
    load = Load(
        count,
        days,
        fill_s=round(fill_s, 1),
        rows_per_s=round(count / stored.wall_s),
        cpu_us_per_row=round(stored.cpu_s / count * 1e6, 1),
        bytes_per_row=round(size / count),
        export_rows_per_s=round(export_rate),
        drop_ms=round(_drop_ms(place), 1),
        arrived=arrivals.result,
        server_cpu_us_per_row=None if used_s is None else round(used_s / count * 1e6, 1),
    )
    return load, rows


def _asked(bench: Bench, count: int, days: int) -> Iterator[Row]:
    for question, ask in track(bench.questions().items(), "questions", transient=True):
        wall_ms, cpu_ms, refused = (sorted(figures) for figures in zip(*_measured(ask), strict=True))
        rank = int(len(wall_ms) * 0.95)
        figures = (statistics.median(wall_ms), wall_ms[rank], wall_ms[-1], cpu_ms[rank])
        yield Row(
            count,
            days,
            question,
            *(round(figure, 2) for figure in figures),
            asked=len(wall_ms),
            refused=sum(refused),
        )


def _drop_ms(place: Place) -> float:
    """Forgets every day, the oldest first; the longest that one took."""
    sink = place.sink()
    longest_s = 0.0
    try:
        for day in reversed(sink.days()):
            began_s = time.perf_counter()
            sink.drop(day)
            longest_s = max(longest_s, time.perf_counter() - began_s)
    finally:
        sink.close()
    return longest_s * 1000


def _print(report: Report, console: Console) -> None:
    loads = Table("", *(f"{load.rows:,} rows" for load in report.loads), title="Storing")
    for name, figure in LOAD_FIGURES.items():
        loads.add_row(name, *(figure(load) or "–" for load in report.loads))
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
    json: Annotated[Path | None, typer.Option(help="Where the result goes.")] = None,
    database: Annotated[Database, typer.Option(help="Which database keeps them.")] = "sqlite",
) -> None:
    """Measures storing and asking at 100,000 and 1,000,000 rows, or as many as said."""
    console = Console()
    file = json or RESULTS[database]
    protocol = (__doc__ or "").split("\n")[0]
    report = Report(RESULTS[database].stem, "benchmarks.calls", protocol, [seed], machine(), [], [])
    for count in rows or [100_000, 1_000_000]:
        with _PLACES[database]() as place:
            report.machine["database"] = place.version()
            load, measured = _run(place, count, days, seed, console)
        report.loads.append(load)
        report.rows += measured
        _write(report, file)
    _print(report, console)


def _write(report: Report, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


if __name__ == "__main__":
    typer.run(main)
