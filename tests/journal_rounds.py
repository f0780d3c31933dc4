"""Kills writers and drains of a journal at random moments and counts what became of the records they acknowledged.

`python tests/journal_rounds.py campaign --rounds 200` runs it for longer than the suite does.
"""

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from journals import a_record

from dujiang.records.drain import Drain
from dujiang.records.journal import Journal
from dujiang.records.record import Record, encode

_SEGMENT_BYTES = 16 * 1024
_START_S = 30.0


class SqliteById:
    """The smallest sink that a kill cannot cheat. `dies_after` commits, it kills its process before saying so."""

    def __init__(self, path: Path, dies_after: int = 0) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("CREATE TABLE IF NOT EXISTS kept (id TEXT PRIMARY KEY)")
        self._dies_after = dies_after

    def insert(self, batch: Sequence[Record]) -> int:
        before = self._database.total_changes
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR IGNORE INTO kept VALUES (?)", [(record.id,) for record in batch])
        self._database.execute("COMMIT")
        self._dies_after -= 1
        if self._dies_after == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._database.total_changes - before

    def ids(self) -> set[str]:
        return {id for (id,) in self._database.execute("SELECT id FROM kept")}

    def close(self) -> None:
        self._database.close()


@dataclass
class Tally:
    """`surplus` are records that were written, but whose writer died before it could say so: at most one a kill."""

    kills: int
    acknowledged: int
    missing: int
    surplus: int


def kill_writers(directory: Path, rounds: int, rng: random.Random) -> Tally:
    """Writers die while a drain follows them."""
    sink = SqliteById(directory / "kept.sqlite")
    drain = Drain(directory / "journal", sink, batch=50, interval_s=0.01)
    drain.start()
    for round_ in range(rounds):
        acknowledged = directory / f"{round_}.acknowledged"
        writer = _child("write", directory / "journal", acknowledged)
        _kill_when(lambda path=acknowledged: path.exists() and path.stat().st_size > 0, writer, rng.uniform(0, 0.1))
    is_stopped = drain.stop(final=True, deadline_s=30)
    tally = _tally(directory, rounds, sink.ids())
    sink.close()
    if not is_stopped or drain.state().damaged or drain.state().backlog.segments:
        raise AssertionError(f"the drain did not end well: {drain.state()}")
    return tally


def kill_drains(directory: Path, rounds: int, rng: random.Random) -> Tally:
    """Drains die while a writer writes: at any moment, or between the sink's commit and the memory of it."""
    acknowledged = directory / "0.acknowledged"
    writer = _child("write", directory / "journal", acknowledged)
    kept = directory / "kept.sqlite"
    for round_ in range(rounds):
        dies_after = 0 if round_ % 2 else rng.randint(1, 20)
        drain = _child("drain", directory / "journal", kept, str(dies_after))
        if dies_after:
            drain.wait(_START_S)
        else:
            _kill_when(kept.exists, drain, rng.uniform(0, 0.3))
    _kill_when(acknowledged.exists, writer, 0)
    sink = SqliteById(kept)
    drain = Drain(directory / "journal", sink)
    drain.start()
    drain.stop(final=True, deadline_s=60)
    tally = _tally(directory, rounds, sink.ids())
    sink.close()
    return tally


def _tally(directory: Path, kills: int, kept: set[str]) -> Tally:
    acknowledged: list[str] = []
    for path in directory.glob("*.acknowledged"):
        acknowledged += [line for line in path.read_text().splitlines() if len(line) == 36]
    return Tally(kills, len(acknowledged), len(set(acknowledged) - kept), len(kept - set(acknowledged)))


def _child(*arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, *map(str, arguments)])


def _kill_when(is_ready, child: subprocess.Popen[bytes], after_s: float) -> None:
    end = time.monotonic() + _START_S
    while not is_ready():
        if time.monotonic() > end or child.poll() is not None:
            raise AssertionError(f"the child did not start: {child.poll()}")
        time.sleep(0.005)
    time.sleep(after_s)
    child.kill()
    child.wait(_START_S)


def _write(directory: Path, acknowledged: Path) -> None:
    journal = Journal(directory, segment_bytes=_SEGMENT_BYTES, fsync_ms=10)
    output = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    while True:
        for _ in range(100):
            record = a_record(request_id="r" * random.randint(1, 3000))
            journal.append(encode(record))
            os.write(output, record.id.encode() + b"\n")
        time.sleep(0.01)  # the one drain shall keep up


def _drain(directory: Path, kept: Path, dies_after: int) -> None:
    Drain(directory, SqliteById(kept, dies_after), batch=20, interval_s=0.01).start()
    signal.pause()


def _campaign(rounds: int) -> None:
    for name, run in (("writers", kill_writers), ("drains", kill_drains)):
        with tempfile.TemporaryDirectory() as folder:
            sys.stdout.write(f"{name}: {run(Path(folder), rounds, random.Random())}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    campaign = commands.add_parser("campaign")
    campaign.add_argument("--rounds", type=int, default=50)
    write = commands.add_parser("write")
    write.add_argument("paths", type=Path, nargs=2)
    drain = commands.add_parser("drain")
    drain.add_argument("paths", type=Path, nargs=2)
    drain.add_argument("dies_after", type=int)
    given = parser.parse_args()
    if given.command == "campaign":
        _campaign(given.rounds)
    elif given.command == "write":
        _write(*given.paths)
    else:
        _drain(*given.paths, given.dies_after)


if __name__ == "__main__":
    main()
