"""Kills a loaded server for longer than the suite does, on SQLite or PostgreSQL, and takes PostgreSQL away meanwhile:
`python tests/campaign_records.py --database postgresql --rounds 50 --outage-s 60 --json FILE`.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gateway import serving
from kill_rounds import VICTIMS, Round, rounds
from outages import Outage, outage, quantile_ms
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scripted import environ, patient_document

from benchmarks.postgres import Postgres, running_postgres
from dujiang.emulator.background import running
from dujiang.emulator.server import Emulator


def main() -> int:
    """Exit 1 when any acknowledged call was lost or doubled, or the ledger disagrees in another way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--outage-s", type=float, default=60, help="how long PostgreSQL is stopped, and then frozen")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    options = parser.parse_args()
    victims = [VICTIMS[n % len(VICTIMS)] for n in range(options.rounds)]
    console = Console()
    outages: dict[str, Outage] = {}
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dujiang-campaign-")))
        emulator = stack.enter_context(running())
        server = stack.enter_context(running_postgres()) if options.database == "postgresql" else None
        played = rounds(data / "kills", emulator, victims, options.seed, server and server.new_database())
        *kills, whole = track(played, "killing", total=options.rounds + 1, console=console)
        if server is not None and options.outage_s:
            outages = dict(track(_outages(data, emulator, server, options.outage_s), "away", total=2, console=console))
    rows = [_row(victim, [each for each in kills if each.victim == victim]) for victim in VICTIMS if victim in victims]
    rows.append(_row("all", kills))
    violations = [f"round {each.number}: {line}" for each in kills for line in each.verdict.violations]
    violations += [f"all rounds together: {line}" for line in whole.verdict.violations]
    violations += [f"{way}: {line}" for way, seen in outages.items() for line in _violations(seen)]
    _print(console, "kill -9 at 200 calls/s", rows, violations)
    away = [_outage_row(way, options.outage_s, seen) for way, seen in outages.items()]
    if away:
        _print(console, "PostgreSQL away at 200 calls/s", away, [])
    if options.json:
        _write(options.json, options.database, options.seed, rows, away, violations)
    return 1 if violations else 0


def _outages(data: Path, emulator: Emulator, server: Postgres, seconds: float) -> Iterator[tuple[str, Outage]]:
    ways = {"stopped": (server.stop, server.start), "frozen (SIGSTOP)": (server.freeze, server.thaw)}
    for n, (way, (leave, come_back)) in enumerate(ways.items()):
        environment = environ(emulator.url) | {"DUJIANG_DATABASE_URL": server.new_database()}
        with serving(data / f"away-{n}", patient_document(), environ=environment) as gateway:
            yield way, outage(gateway, emulator, leave, come_back, seconds, f"away-{n}-")


def _violations(seen: Outage) -> list[str]:
    failed = [f"{call.request_id} got {call.status} {call.error}" for call in seen.failed]
    return [*failed, *seen.verdict.violations]


def _outage_row(way: str, seconds: float, seen: Outage) -> dict[str, Any]:
    return {
        "database": way,
        "seconds": seconds,
        "calls": len(seen.heard),
        "failed": len(seen.failed),
        "lost": seen.verdict.lost,
        "duplicated": seen.verdict.duplicated,
        "control_p50_ms": round(quantile_ms(seen.control, 50), 2),
        "p50_ms": round(quantile_ms(seen.heard, 50), 2),
        "control_p99_ms": round(quantile_ms(seen.control, 99), 2),
        "p99_ms": round(quantile_ms(seen.heard, 99), 2),
        "health": seen.states[1],
        "caught_up_s": round(seen.caught_up_s, 2),
    }


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


def _print(console: Console, title: str, rows: list[dict[str, Any]], violations: list[str]) -> None:
    table = Table(title=title, title_justify="left")
    for name, value in rows[0].items():
        table.add_column(name.replace("_", " "), justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)
    for line in violations:
        console.print(line, style="red", markup=False)


def _write(
    file: Path,
    database: str,
    seed: int,
    rows: list[dict[str, Any]],
    outages: list[dict[str, Any]],
    violations: list[str],
) -> None:
    figures = {
        "name": "campaign-records",
        "database": database,
        "protocol": "kill -9 of worker, parent or both at a random moment under 200 calls/s; one data directory",
        "seeds": [seed],
        "machine": f"{platform.system()} {platform.machine()}, {platform.python_implementation()} "
        f"{platform.python_version()}",
        "rows": rows,
        "outages": outages,
        "violations": violations,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
