"""Kills a loaded server for longer than the suite does: `python tests/campaign_records.py --rounds 50 --json FILE`."""

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kill_rounds import VICTIMS, Round, rounds
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dujiang.emulator.background import running


def main() -> int:
    """Exit 1 when any acknowledged call was lost or doubled, or the ledger disagrees in another way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    options = parser.parse_args()
    victims = [VICTIMS[n % len(VICTIMS)] for n in range(options.rounds)]
    console = Console()
    with tempfile.TemporaryDirectory(prefix="dujiang-campaign-") as data, running() as emulator:
        played = rounds(Path(data), emulator, victims, options.seed)
        *kills, whole = track(played, "killing", total=options.rounds + 1, console=console)
    rows = [_row(victim, [each for each in kills if each.victim == victim]) for victim in VICTIMS if victim in victims]
    rows.append(_row("all", kills))
    violations = [f"round {each.number}: {line}" for each in kills for line in each.verdict.violations]
    violations += [f"all rounds together: {line}" for line in whole.verdict.violations]
    _print(console, rows, violations)
    if options.json:
        _write(options.json, options.seed, rows, violations)
    return 1 if violations else 0


def _row(victim: str, kills: Sequence[Round]) -> dict[str, Any]:
    recoveries = [each.recovery_s for each in kills]
    return {
        "killed": victim,
        "rounds": len(kills),
        "acknowledged": sum(each.verdict.acknowledged for each in kills),
        "lost": sum(each.verdict.lost for each in kills),
        "duplicated": sum(each.verdict.duplicated for each in kills),
        "unknown": sum(len(each.verdict.unknown) for each in kills),
        "recovery_p50_s": round(statistics.median(recoveries), 2),
        "recovery_max_s": round(max(recoveries), 2),
    }


def _print(console: Console, rows: list[dict[str, Any]], violations: list[str]) -> None:
    table = Table(title="kill -9 at 200 calls/s", title_justify="left")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="left" if name == "killed" else "right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)
    for line in violations:
        console.print(line, style="red", markup=False)


def _write(file: Path, seed: int, rows: list[dict[str, Any]], violations: list[str]) -> None:
    figures = {
        "name": "campaign-records",
        "protocol": "kill -9 of worker, parent or both at a random moment under 200 calls/s; one data directory",
        "seeds": [seed],
        "machine": f"{platform.system()} {platform.machine()}, {platform.python_implementation()} "
        f"{platform.python_version()}",
        "rows": rows,
        "violations": violations,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
