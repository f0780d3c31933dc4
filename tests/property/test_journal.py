"""Whatever becomes of its bytes, disk and processes: the journal gives every acknowledged record, and no other."""

import errno
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from journals import FailingDisk, MemorySink, a_record, read, read_all

from dujiang.records.drain import Drain
from dujiang.records.frames import HEADER_BYTES, frame, header
from dujiang.records.journal import Journal, JournalFailed
from dujiang.records.record import Record, encode
from dujiang.records.segments import position_path, segments

payload_lists = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=8)
failures = st.sampled_from([errno.ENOSPC, errno.EIO, -1, -5, -30])


def ends_of(payloads: Sequence[bytes]) -> list[int]:
    ends, at = [], HEADER_BYTES
    for payload in payloads:
        at += 8 + len(payload)
        ends.append(at)
    return ends


@given(payload_lists, st.data())
def test_a_cut_loses_only_what_it_cut(payloads: list[bytes], data: st.DataObject) -> None:
    whole = header() + b"".join(frame(payload) for payload in payloads)
    cut = data.draw(st.integers(0, len(whole)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.journal")
        path.write_bytes(whole[:cut])
        found, rest = read(path)
    ends = ends_of(payloads)
    assert found == [payload for payload, end in zip(payloads, ends, strict=True) if end <= cut]
    assert (rest is None) == (cut in {HEADER_BYTES, *ends})


@given(payload_lists, st.data())
def test_a_flipped_bit_never_makes_a_record_nor_loses_an_earlier_one(
    payloads: list[bytes], data: st.DataObject
) -> None:
    content = bytearray(header() + b"".join(frame(payload) for payload in payloads))
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.journal")
        path.write_bytes(content)
        found, rest = read(path)
    intact = [payload for payload, end in zip(payloads, ends_of(payloads), strict=True) if end <= bit // 8]
    assert found == intact
    assert rest is not None


@given(st.binary(max_size=300))
def test_noise_is_no_record(noise: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.journal")
        path.write_bytes(header() + noise)
        found, _ = read(path)
    assert b"".join(frame(payload) for payload in found) == noise[: sum(8 + len(payload) for payload in found)]


@given(payload_lists, st.dictionaries(st.integers(1, 40), failures, max_size=10), st.sampled_from(["process", "power"]))
def test_however_the_disk_fails_what_was_acknowledged_is_read(
    payloads: list[bytes], failing: dict[int, int], durability: str
) -> None:
    """The n-th operations fail, or write less than they were given."""
    disk = FailingDisk(lambda verb, n: failing.get(n, 0) if verb == "write" else max(0, failing.get(n, 0)))
    acknowledged: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder:
        ticks = iter(range(10_000))
        journal = Journal(
            Path(folder), disk=disk, clock=lambda: next(ticks), fsync_ms=None, segment_bytes=150, durability=durability
        )
        for n, payload in enumerate(payloads):
            marked = b"%d " % n + payload
            try:
                journal.append(marked)
            except JournalFailed:
                continue
            acknowledged.append(marked)
        journal.close()
        found = read_all(Path(folder))
        for segment in segments(Path(folder)):
            segment.unlink()
        assert list(Path(folder).iterdir()) == []
    if durability == "process":
        assert found == acknowledged
    else:  # a record whose sync failed may be there, or be there twice: the sink passes over the second
        assert list(dict.fromkeys(x for x in found if x in acknowledged)) == acknowledged


class Crashes(RuleBasedStateMachine):
    """Writers and drains that die at any step, a sink that fails before or after it kept a batch, lost positions."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.sink = MemorySink()
        self.acknowledged: dict[str, Record] = {}
        self.writers: list[Journal] = []
        self.restart_drain()

    @rule()
    def restart_drain(self) -> None:
        self.drain = Drain(self.directory, self.sink, batch=3)

    @rule()
    def start_writer(self) -> None:
        self.writers.append(Journal(self.directory, segment_bytes=400, fsync_ms=None))

    @rule(data=st.data(), count=st.integers(1, 6))
    def append(self, data: st.DataObject, count: int) -> None:
        if self.writers:
            writer = data.draw(st.sampled_from(self.writers))
            for _ in range(count):
                record = a_record()
                writer.append(encode(record))
                self.acknowledged[record.id] = record

    @rule(torn=st.integers(0, 7))
    def a_writer_dies(self, torn: int) -> None:
        if self.writers:
            writer = self.writers.pop()
            if writer._segment is not None:
                writer._segment._write(writer._segment.descriptor, frame(b"never acknowledged")[:torn])
            writer.close()

    @rule()
    def pass_over_all(self) -> None:
        self.drain.drain_once()

    @rule(fails_at=st.integers(0, 3), is_kept=st.booleans())
    def the_sink_fails(self, fails_at: int, is_kept: bool) -> None:
        batches = iter(range(1000))

        def failure(batch: Sequence[Record]) -> Exception | None:
            if next(batches) != fails_at:
                return None
            if is_kept:
                self.sink.kept.update((record.id, record) for record in batch)
            return ConnectionError("lost")

        self.sink.failure = failure
        self.drain.drain_once()
        self.sink.failure = lambda _: None

    @rule()
    def a_position_is_lost(self) -> None:
        for segment in segments(self.directory)[:1]:
            position_path(segment).unlink(missing_ok=True)
            self.restart_drain()

    def teardown(self) -> None:
        while not self.drain.drain_once():
            pass
        assert self.sink.kept == self.acknowledged
        while self.writers:
            self.writers.pop().close()
        assert self.drain.drain_once()
        assert segments(self.directory) == []
        assert not list(self.directory.glob("*.damaged"))
        shutil.rmtree(self.directory)


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(max_examples=40, stateful_step_count=25)
