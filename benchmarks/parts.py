"""What the parts of something cost, in CPU time: as JSON for machines, as a table for people."""

from pathlib import Path

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from benchmarks.report import machine


class Part(Struct, frozen=True):
    """CPU time of one part, the median over the rounds."""

    part: str
    cpu_us: float


class PartsReport(Struct, frozen=True):
    """`name` is the benchmark's; `data` what it was measured with."""

    name: str
    protocol: str
    data: str
    machine: dict[str, str]
    rows: list[Part]


def tell(name: str, protocol: str, data: str, rows: list[Part], file: Path) -> None:
    """Write a report to `file`, and print its table."""
    report = PartsReport(name, protocol, data, machine(), rows)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    table = Table("part", "CPU µs", box=None)
    for row in rows:
        table.add_row(row.part, f"{row.cpu_us:.3f}")
    Console().print(table)
