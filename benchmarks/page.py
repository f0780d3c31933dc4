"""The tables of docs/performance.md, written from the results: `python -m benchmarks.page` after a run."""

import re
from pathlib import Path

import msgspec

from benchmarks.report import Report

_ROOT = Path(__file__).parents[1]
PAGE = _ROOT / "docs" / "performance.md"
GATEWAY = _ROOT / "benchmarks" / "results" / "gateway.json"


def with_tables(page: str, report: Report) -> str:
    """The page with what stands between its `gateway` marks replaced."""
    place = re.compile(r"(<!-- gateway: begin -->\n).*(<!-- gateway: end -->\n)", re.DOTALL)
    return place.sub(lambda marks: marks[1] + _markdown(report) + marks[2], page)


def read_report(file: Path) -> Report:
    return msgspec.json.decode(file.read_bytes(), type=Report)


def _markdown(report: Report) -> str:
    where = f"{', '.join(report.machine.values())}. {report.protocol}; upstream {report.upstream}."
    return f"\n{where}\n\n" + "\n".join(f"### {title}\n\n{_table(lines)}" for title, lines in report.tables()) + "\n"


def _table(lines: list[list[str]]) -> str:
    heading, *rows = lines
    rule = ["---" if name == "target" else "---:" for name in heading]
    return "".join(f"| {' | '.join(line)} |\n" for line in (heading, rule, *rows))


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(), read_report(GATEWAY)))
