"""Revisions under load for longer than the suite does: `python tests/campaign_reload.py --seconds 60 --json FILE`."""

import argparse
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

from configured import patch
from gateway import Gateway, serving
from reload_rounds import first_document, percentiles, reloading, turning
from rich.console import Console
from scripted import environ

from dujiang.emulator.background import running


def main() -> int:
    """Exit 1 when a call failed or saw two revisions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=float, default=2, metavar="S", help="seconds from one revision to the next")
    parser.add_argument("--revisions", type=int, default=500, help="how many follow, as fast as they are made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    options = parser.parse_args()
    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="dujiang-reload-") as data,
        running() as emulator,
        serving(Path(data), first_document(), environ=environ(emulator.url)) as gateway,
    ):
        outcome = reloading(gateway, seconds=options.seconds, every_s=options.every, alone_s=options.seconds / 4)
        memory = _memory(gateway, outcome.revisions + 1, options.revisions)
    figures: dict[str, Any] = {
        "name": "reload",
        "machine": f"{platform.system()} {platform.release()}, CPython {platform.python_version()}",
        "seconds": options.seconds,
        "every_s": options.every,
        "revisions": outcome.revisions,
        "calls": outcome.calls,
        "violations": outcome.violations,
        "health_alone": percentiles(outcome.alone_ms),
        "health_meanwhile": percentiles(outcome.meanwhile_ms),
        "worker_rss_mib": memory,
    }
    console.print_json(json.dumps(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if outcome.violations else 0


def _memory(gateway: Gateway, turn: int, revisions: int) -> dict[str, float]:
    """The worker's resident memory by the number of revisions that it has seen since the load ended."""
    found = {"0": _rss_mib(gateway)}
    for n in range(1, revisions + 1):
        assert patch(gateway, turning(turn + n)).status == 200
        if n % max(1, revisions // 5) == 0:
            found[str(n)] = _rss_mib(gateway)
    return found


def _rss_mib(gateway: Gateway) -> float:
    return round(gateway.worker.memory_info().rss / 1024 / 1024, 1)


if __name__ == "__main__":
    raise SystemExit(main())
