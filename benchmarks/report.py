"""The outcome of a benchmark of the gateway: as JSON for machines, as tables for people."""

import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table


class WholeRow(msgspec.Struct, frozen=True):
    """Whole answers at a number of connections: medians over the rounds. `ratio` is of CPU time, to the prototype's."""

    target: str
    connections: int
    cpu_us: float
    rps: float
    p50_ms: float
    p99_ms: float
    rss_mb: float
    rounds: int
    ratio: float | None = None


class StreamRow(msgspec.Struct, frozen=True):
    """Concurrent streams of 100 events at 10 ms; latencies are of whole streams, which take 1,000 ms at best."""

    target: str
    streams: int
    cpu_us_per_event: float
    events: int
    p50_ms: float
    p99_ms: float
    rounds: int
    ratio: float | None = None


class SlowRow(msgspec.Struct, frozen=True):
    """Calls in flight at once while the upstream takes 2 s; memory is the growth of the process tree's PSS."""

    target: str
    calls: int
    kib_per_call: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    ratio: float | None = None


_TITLES: dict[str, tuple[str, Callable[[float], str]]] = {
    "cpu_us": ("CPU µs/call", "{:.1f}".format),
    "cpu_us_per_event": ("CPU µs/event", "{:.1f}".format),
    "kib_per_call": ("KiB/call", "{:.1f}".format),
    "rps": ("calls/s", "{:,.0f}".format),
    "p50_ms": ("p50 ms", "{:.2f}".format),
    "p99_ms": ("p99 ms", "{:.2f}".format),
    "rss_mb": ("PSS MB", "{:.0f}".format),
    "events": ("events", "{:,.0f}".format),
    "ratio": ("× prototype", "{:.2f}".format),
}


class Report(msgspec.Struct):
    """Everything a run found out.

    `discarded` names the runs that saw errors and do not count, `not_stored` those whose records took too long to be
    counted whole.
    """

    name: str
    protocol: str
    data: str
    machine: dict[str, str]
    upstream: str = ""
    rows: list[WholeRow] = []
    streams: list[StreamRow] = []
    slow_calls: list[SlowRow] = []
    left_out: dict[str, str] = {}
    discarded: list[str] = []
    not_stored: list[str] = []

    def write(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        figures = msgspec.to_builtins(self)
        for row in (*figures["rows"], *figures["streams"], *figures["slow_calls"]):
            row.update({name: round(value, 3) for name, value in row.items() if isinstance(value, float)})
        file.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")

    def tables(self) -> list[tuple[str, list[list[str]]]]:
        """Each table that has rows: its title, and its lines of cells, the first of them the heading."""
        titled: list[tuple[str, Sequence[msgspec.Struct]]] = [
            ("Whole answers", self.rows),
            ("Streams of 100 events at 10 ms", self.streams),
            ("Slow calls in flight", self.slow_calls),
        ]
        return [(title, _lines(rows)) for title, rows in titled if rows]

    def print(self, console: Console) -> None:
        console.print(f"{self.protocol}; upstream {self.upstream}\n{', '.join(self.machine.values())}", style="dim")
        for title, (heading, *lines) in self.tables():
            table = Table(title=title, title_justify="left")
            for name in heading:
                table.add_column(name, justify="left" if name == "target" else "right")
            for line in lines:
                table.add_row(*line)
            console.print(table)
        for name, reason in self.left_out.items():
            console.print(f"left out: {name} ({reason})", style="yellow")
        for run in self.discarded:
            console.print(f"discarded: {run}", style="red")
        for run in self.not_stored:
            console.print(f"records not stored in time: {run}", style="red")


def machine() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "cpu": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.machine()


def _lines(rows: Sequence[msgspec.Struct]) -> list[list[str]]:
    fields = rows[0].__struct_fields__
    heading = [_TITLES.get(field, (field, str))[0] for field in fields]
    return [heading, *([_cell(field, getattr(row, field)) for field in fields] for row in rows)]


def _cell(field: str, value: object) -> str:
    if value is None:
        return "–"
    return _TITLES[field][1](value) if field in _TITLES and isinstance(value, int | float) else str(value)
