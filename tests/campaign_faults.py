"""The fault matrix in full: every row several times, the median of each figure, and whether what must hold did.

`python tests/campaign_faults.py --json FILE`; `--rows F1,F7` measures some rows and keeps what the file says of the
others; `--runs 0` measures nothing, and writes the pages from the file.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from faulty.matrix import ROWS
from faulty.page import PAGES, with_table
from faulty.row import Row, figures
from rich.console import Console
from rich.progress import Progress


def main() -> int:
    """Exit 1 when a bound did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", default="", help="their numbers, divided by commas; all where there is none")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the figures go")
    options = parser.parse_args()
    wanted = options.rows.split(",") if options.rows else [row.number for row in ROWS]
    measured: dict[str, Any] = {}
    if options.json.exists():
        measured = {row["row"]: row for row in json.loads(options.json.read_text("utf-8"))["rows"]}
    console = Console()
    chosen = [row for row in ROWS if row.number in wanted] if options.runs else []
    with Progress(console=console) as progress:
        task = progress.add_task("", total=len(chosen) * options.runs)
        for row in chosen:
            runs: list[Mapping[str, float]] = []
            for _ in range(options.runs):
                progress.update(task, description=f"{row.number} {row.fault}")
                with tempfile.TemporaryDirectory(prefix="dujiang-faults-") as data:
                    runs.append(figures(row.measure(Path(data), row.seconds)))
                progress.advance(task)
            measured[row.number] = _summary(row, runs)
            console.print(_line(measured[row.number]), markup=False)
            _write(options.json, measured)
    rows = [measured[row.number] for row in ROWS if row.number in measured]
    for page in PAGES:
        if page.exists():
            page.write_text(with_table(page.read_text("utf-8"), rows, is_chinese=".zh" in page.name), "utf-8")
    return 1 if any(not bound["holds"] for row in rows for bound in row["bounds"]) else 0


def _summary(row: Row, runs: list[Mapping[str, float]]) -> dict[str, Any]:
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return {
        "row": row.number,
        "fault": row.fault,
        "zh": row.zh,
        "seconds": row.seconds,
        "resilience": dict(row.resilience),
        "runs": len(runs),
        "figures": {
            name: {
                "median": round(median, 4),
                "least": round(min(run[name] for run in runs), 4),
                "most": round(max(run[name] for run in runs), 4),
            }
            for name, median in medians.items()
        },
        "bounds": [
            {
                "figure": bound.figure,
                "relation": bound.relation,
                "value": bound.value,
                "holds": bound.holds(medians),
            }
            for bound in row.bounds
        ],
    }


def _line(row: Mapping[str, Any]) -> str:
    return " ".join([row["row"], *_told(row)])


def _told(row: Mapping[str, Any]) -> Iterator[str]:
    for name, figure in row["figures"].items():
        yield f"{name} {figure['median']:g}"
    for bound in row["bounds"]:
        if not bound["holds"]:
            yield f"MISSED {bound['figure']} {bound['relation']} {bound['value']:g}"


def _write(file: Path, measured: Mapping[str, Any]) -> None:
    told = {
        "name": "campaign-faults",
        "protocol": "each row with a gateway and an emulator of its own on one machine; figures are medians of runs",
        "machine": f"{platform.system()} {platform.machine()}, {platform.python_implementation()} "
        f"{platform.python_version()}",
        "rows": [measured[row.number] for row in ROWS if row.number in measured],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
