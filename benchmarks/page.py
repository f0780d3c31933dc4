"""The tables of docs/performance.md, written from the results: `python -m benchmarks.page` after a run."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks import records
from benchmarks.report import Report

_ROOT = Path(__file__).parents[1]
PAGE = _ROOT / "docs" / "performance.md"
GATEWAY = _ROOT / "benchmarks" / "results" / "gateway.json"
RECORDS = records.RESULTS


def with_tables(page: str, report: Report) -> str:
    """The page with what stands between its `gateway` marks replaced."""
    return _replaced(page, "gateway", _markdown(report))


def with_records(page: str, report: records.Report) -> str:
    """The page with what stands between the marks of the report's name (`records`, `records-postgresql`) replaced."""
    where = f"{', '.join(report.machine.values())}. Milliseconds; growth is that of the p50."
    tables = "\n".join(_table(list(lines)) for lines in (_storing(report), _asking(report)))
    return _replaced(page, report.name, f"\n{where}\n\n{tables}\n")


def read_report(file: Path) -> Report:
    return msgspec.json.decode(file.read_bytes(), type=Report)


def read_records(file: Path) -> records.Report:
    return msgspec.json.decode(file.read_bytes(), type=records.Report)


def _replaced(page: str, name: str, text: str) -> str:
    place = re.compile(rf"(<!-- {name}: begin -->\n).*(<!-- {name}: end -->\n)", re.DOTALL)
    return place.sub(lambda marks: marks[1] + text + marks[2], page)


def _markdown(report: Report) -> str:
    where = f"{', '.join(report.machine.values())}. {report.protocol}; upstream {report.upstream}."
    return f"\n{where}\n\n" + "\n".join(f"### {title}\n\n{_table(lines)}" for title, lines in report.tables()) + "\n"


def _storing(report: records.Report) -> Iterator[list[str]]:
    yield ["storing", *(f"{load.rows:,} rows" for load in report.loads)]
    for name, figure in records.LOAD_FIGURES.items():
        figures = [text for load in report.loads if (text := figure(load)) is not None]
        if figures:
            yield [name, *figures]


def _asking(report: records.Report) -> Iterator[list[str]]:
    counts = [load.rows for load in report.loads]
    yield ["question", *(f"{name} at {count:,}" for count in counts for name in ("p50", "p95", "CPU p95")), "growth"]
    for question in dict.fromkeys(row.question for row in report.rows):
        rows = [row for row in report.rows if row.question == question]
        figures = (figure for row in rows for figure in (row.p50_ms, row.p95_ms, row.cpu_p95_ms))
        note = f", {refused} refused" if (refused := sum(row.refused for row in rows)) else ""
        yield [
            f"{question}{note}",
            *(f"{figure:,.1f}" for figure in figures),
            f"× {rows[-1].p50_ms / rows[0].p50_ms:.1f}",
        ]


def _table(lines: list[list[str]]) -> str:
    heading, *rows = lines
    rule = ["---" if name in {"target", "question", "storing"} else "---:" for name in heading]
    return "".join(f"| {' | '.join(line)} |\n" for line in (heading, rule, *rows))


def main() -> None:
    page = with_tables(PAGE.read_text(), read_report(GATEWAY))
    for file in RECORDS.values():
        if file.exists():
            page = with_records(page, read_records(file))
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
