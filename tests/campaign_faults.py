"""The fault matrix at length: `python tests/campaign_faults.py --rounds 5 --json FILE --pages docs/reliability.md`."""

import argparse
import json
import platform
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

from fault_rows import ROWS, WANTED
from rich.console import Console
from rich.progress import Progress

BEGIN, END = "<!-- campaign-faults: begin -->", "<!-- campaign-faults: end -->"


def main() -> int:
    """Exit 1 when a figure is outside of its bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="how long each row takes; 15 is a minute of overload")
    parser.add_argument("--only", nargs="*", default=[], help="rows by the beginnings of their names")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    parser.add_argument("--pages", type=Path, nargs="*", default=[], metavar="FILE", help="pages that show the table")
    options = parser.parse_args()
    names = [name for name in ROWS if not options.only or name.startswith(tuple(options.only))]
    rows = measured(names, options.rounds, options.scale)
    figures: dict[str, Any] = {
        "name": "faults",
        "machine": f"{platform.system()} {platform.release()}, CPython {platform.python_version()}",
        "commit": _commit(),
        "rounds": options.rounds,
        "scale": options.scale,
        "rows": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    table = page(figures)
    for path in options.pages:
        before, _, rest = path.read_text("utf-8").partition(BEGIN)
        path.write_text(f"{before}{BEGIN}\n\n{table}\n{END}{rest.partition(END)[2]}", "utf-8")
    Console(width=160).print(table)
    return 0 if all(row["is_held"] for row in rows if row["wanted"]) else 1


def measured(names: list[str], rounds: int, scale: float) -> list[dict[str, Any]]:
    """The median of each figure of each row."""
    found: list[dict[str, Any]] = []
    with Progress() as progress:
        task = progress.add_task("faults", total=len(names) * rounds)
        for name in names:
            taken = []
            for _ in range(rounds):
                progress.update(task, description=name)
                taken.append(ROWS[name](scale))
                progress.advance(task)
            for figure in taken[0]:
                value = median(each[figure] for each in taken)
                wanted = WANTED[name].get(figure)
                is_held = wanted is None or wanted[0] <= value <= wanted[1]
                found.append({"row": name, "figure": figure, "median": value, "wanted": wanted, "is_held": is_held})
    return found


def page(figures: dict[str, Any]) -> str:
    """The figures as a table for people."""
    head = (
        f"{figures['machine']}, commit {figures['commit']}; medians of {figures['rounds']} rounds, "
        f"scale {figures['scale']:g}: `make campaign-faults`.\n\n"
        "| row | figure | median | wanted | |\n| --- | --- | ---: | --- | --- |\n"
    )
    return head + "".join(
        f"| {row['row']} | `{row['figure']}` | {row['median']:.3g} | {_bounds(row['wanted'])} "
        f"| {'' if row['wanted'] is None else 'held' if row['is_held'] else '**missed**'} |\n"
        for row in figures["rows"]
    )


def _bounds(wanted: tuple[float, float] | None) -> str:
    if wanted is None:
        return ""
    low, high = wanted
    return f"{low:g}" if low == high else f"{low:g} … {high:g}"


def _commit() -> str:
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    return asked.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
