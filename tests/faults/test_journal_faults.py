"""The journal with real processes that are killed, real limits on files, and a disk whose n-th operation fails."""

import errno
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from journal_rounds import kill_drains, kill_writers
from journals import FailingDisk, MemorySink, a_record, full_from, read_all

from dujiang.records.drain import Drain
from dujiang.records.journal import Journal, JournalFailed, OnFull
from dujiang.records.record import encode
from dujiang.records.segments import segments

ROUNDS = 10
RECORDS = 25

LIMITED = """
import json, resource, sys
from pathlib import Path
from dujiang.records.frames import HEADER_BYTES
from dujiang.records.journal import Journal, JournalFull

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

now = 0.0
journal = Journal(Path(sys.argv[1]), fsync_ms=None, clock=lambda: now)
acknowledged, refused = [], 0
for n in range(400):
    now += 0.01
    limit({0: resource.RLIM_INFINITY, 1: 5000, 2: HEADER_BYTES + 50, 3: resource.RLIM_INFINITY}[n // 100])
    payload = f"{n} " + "x" * (n % 90)
    try:
        journal.check()
        journal.append(payload.encode())
        acknowledged.append(payload)
    except JournalFull:
        refused += 1
journal.close()
print(json.dumps([acknowledged, refused]))
"""


def test_every_acknowledged_record_of_a_killed_writer_is_kept_once(tmp_path: Path) -> None:
    tally = kill_writers(tmp_path, ROUNDS, random.Random(1))
    assert tally.acknowledged > ROUNDS
    assert tally.missing == 0
    assert tally.surplus <= tally.kills


def test_a_killed_drain_loses_and_repeats_nothing(tmp_path: Path) -> None:
    tally = kill_drains(tmp_path, ROUNDS, random.Random(2))
    assert tally.acknowledged > 1000
    assert tally.missing == 0
    assert tally.surplus <= 1


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    """With a small limit each file is cut and the next one taken; with a tiny one calls are refused for a while."""
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, check=True, text=True, timeout=60
    )
    acknowledged, refused = json.loads(ran.stdout)
    assert 50 < refused < 150
    assert len(acknowledged) + refused == 400
    assert acknowledged[-1].startswith("399 ")
    assert ran.stderr.count("calls cannot be recorded") <= 1
    assert read_all(tmp_path) == [payload.encode() for payload in acknowledged]
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize("on_full", ["refuse", "serve_and_alarm"])
@pytest.mark.parametrize("n", range(1, 25))
def test_the_nth_operation_and_all_later_ones_find_the_disk_full(tmp_path: Path, n: int, on_full: OnFull) -> None:
    assert _run_with(tmp_path, FailingDisk(full_from(n)), on_full)


@pytest.mark.parametrize("outcome", [errno.EIO, errno.ENOSPC, -1, -20, -200])
@pytest.mark.parametrize("n", range(1, 25))
def test_the_nth_operation_fails_or_is_short(tmp_path: Path, n: int, outcome: int) -> None:
    disk = FailingDisk(lambda verb, done: outcome if done == n and (outcome > 0 or verb == "write") else 0)
    dropped = _run_with(tmp_path, disk, "refuse")
    assert dropped <= 1


@pytest.mark.parametrize("n", range(1, 25))
def test_half_a_frame_is_taken_back(tmp_path: Path, n: int) -> None:
    outcomes = {n: -10, n + 1: errno.ENOSPC}
    disk = FailingDisk(lambda verb, done: outcomes.get(done, 0) if verb == "write" else 0)
    assert _run_with(tmp_path, disk, "refuse") == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("n", range(1, 25))
def test_a_disk_that_cuts_short_then_fails_then_cannot_truncate(tmp_path: Path, n: int) -> None:
    outcomes = {n: -10, n + 1: errno.ENOSPC, n + 2: errno.EIO}
    disk = FailingDisk(lambda verb, done: max(outcomes.get(done, 0), -10 if verb == "write" else 0))
    assert _run_with(tmp_path, disk, "refuse") <= 1


def _run_with(directory: Path, disk: FailingDisk, on_full: OnFull) -> int:
    """Records through a failing disk, and all that were acknowledged out of it; how many were not."""
    ticks = iter(range(10_000))
    journal = Journal(
        directory, disk=disk, on_full=on_full, fsync_ms=None, segment_bytes=700, clock=lambda: next(ticks)
    )
    acknowledged = []
    for _ in range(RECORDS):
        record = a_record()
        before = journal.state().dropped
        try:
            journal.append(encode(record))
        except JournalFailed:
            assert on_full == "refuse"
        if journal.state().dropped == before:
            acknowledged.append(record)
    dropped = journal.state().dropped
    journal.close()
    sink = MemorySink()
    drain = Drain(directory, sink)
    assert drain.drain_once()
    assert list(sink.kept.values()) == acknowledged
    assert drain.state().damaged == 0
    assert segments(directory) == []
    assert len(acknowledged) + dropped == RECORDS
    return dropped
