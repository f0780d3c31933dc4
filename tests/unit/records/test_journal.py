"""The journal and its reader, one property of theirs at a time."""

import errno
import logging
import os
import time
from pathlib import Path
from zlib import crc32

import pytest
from gateway import eventually
from journals import FailingDisk, MemorySink, a_record, read, read_all

from dujiang.records.disk import SystemDisk
from dujiang.records.drain import DEAD_LETTERS, BadRecord, Drain
from dujiang.records.frames import HEADER_BYTES, Damaged, NewerFormat, TornTail, check_header, frame, header
from dujiang.records.journal import Journal, JournalFailed, JournalFull
from dujiang.records.leftovers import forget_leftovers
from dujiang.records.record import Content, decode, encode
from dujiang.records.segments import backlog, is_live, read_position, segments, write_position


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def journal_of(directory: Path, **options) -> Journal:
    return Journal(directory, **{"fsync_ms": None, **options})


def filled(directory: Path, count: int, **options) -> list[bytes]:
    """A closed journal with so many records."""
    journal = journal_of(directory, **options)
    payloads = [encode(a_record(f"r{n}")) for n in range(count)]
    for payload in payloads:
        journal.append(payload)
    journal.close()
    return payloads


def test_what_is_appended_is_read_in_order(tmp_path: Path) -> None:
    payloads = filled(tmp_path, 100)
    assert read_all(tmp_path) == payloads


def test_a_segment_is_private_to_its_owner(tmp_path: Path) -> None:
    filled(tmp_path / "journal", 1)
    [segment] = segments(tmp_path / "journal")
    assert segment.stat().st_mode & 0o777 == 0o600
    assert segment.parent.stat().st_mode & 0o777 == 0o700


def test_a_segment_is_locked_while_it_is_written(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    journal.append(b"x")
    [segment] = segments(tmp_path)
    with segment.open("rb") as file:
        assert is_live(file.fileno())
        journal.close()
        assert not is_live(file.fileno())


def test_segments_are_rotated_and_sort_by_age(tmp_path: Path) -> None:
    payloads = filled(tmp_path, 50, segment_bytes=1000)
    found = segments(tmp_path)
    assert len(found) > 5
    assert all(segment.stat().st_size <= 1000 for segment in found)
    assert read_all(tmp_path) == payloads


def test_what_is_turned_over_can_be_drained_and_removed_while_the_journal_goes_on(tmp_path: Path) -> None:
    journal, sink = journal_of(tmp_path), MemorySink()
    payloads = [encode(a_record(f"r{n}")) for n in range(4)]
    drain = Drain(tmp_path, sink, interval_s=0.01)
    drain.start()
    try:
        for payload in payloads[:2]:
            journal.append(payload)
        journal.turn_over()
        journal.turn_over()  # where nothing was appended there is nothing to turn over
        eventually(lambda: not any(payloads[0] in segment.read_bytes() for segment in segments(tmp_path)))
        assert len(segments(tmp_path)) == 1
        for payload in payloads[2:]:
            journal.append(payload)
        journal.close()
        journal.turn_over()
        eventually(lambda: len(sink.kept) == 4)
    finally:
        assert drain.stop(final=True)
    assert segments(tmp_path) == []


def test_a_record_larger_than_a_segment_has_one_of_its_own(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, segment_bytes=1000)
    payloads = [b"a" * 10, b"b" * 5000, b"c" * 10]
    for payload in payloads:
        journal.append(payload)
    assert read_all(tmp_path) == payloads
    assert len(segments(tmp_path)) == 3


def test_frames_larger_than_what_is_read_at_once(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    payloads = [b"a" * 10, b"b" * 1_000_000, b"c" * 10, b"d" * 300_000, b"e"]
    for payload in payloads:
        journal.append(payload)
    assert read_all(tmp_path) == payloads


def test_a_journal_without_records_leaves_no_file(tmp_path: Path) -> None:
    filled(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_appended_after_the_end(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    journal.close()
    journal.close()
    with pytest.raises(JournalFailed, match="closed"):
        journal.append(b"x")


def test_power_durability_syncs_every_record(tmp_path: Path) -> None:
    verbs: list[str] = []

    def note(verb: str, _: int) -> int:
        verbs.append(verb)
        return 0

    journal = journal_of(tmp_path, durability="power", disk=FailingDisk(note))
    verbs.clear()
    journal.append(b"x")
    assert verbs == ["write", "sync"]


def test_a_record_that_was_not_synced_is_written_again(tmp_path: Path) -> None:
    disk = FailingDisk(lambda _, __: 0)
    journal = journal_of(tmp_path, durability="power", disk=disk)
    failing_once = iter([errno.EIO])
    disk.fails = lambda verb, _: next(failing_once, 0) if verb == "sync" else 0
    journal.append(b"x")
    assert read_all(tmp_path) == [b"x", b"x"]


class SyncedDisk(SystemDisk):
    """Remembers the inodes that were synced."""

    def __init__(self) -> None:
        self.synced: set[int] = set()

    def sync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)
        self.synced.add(os.fstat(descriptor).st_ino)


def test_the_background_syncs_every_segment_that_grew(tmp_path: Path) -> None:
    disk = SyncedDisk()
    journal = Journal(tmp_path, fsync_ms=5, disk=disk, segment_bytes=100)
    for payload in (b"x" * 70, b"y" * 70, b"z" * 70):
        journal.append(payload)
    eventually(lambda: disk.synced == {segment.stat().st_ino for segment in segments(tmp_path)})
    journal.close()
    assert read_all(tmp_path) == [b"x" * 70, b"y" * 70, b"z" * 70]
    for segment in segments(tmp_path):
        with segment.open("rb") as file:
            assert not is_live(file.fileno())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EFBIG])
def test_a_disk_that_fails_refuses_until_it_works_again(tmp_path: Path, number: int) -> None:
    clock, disk = Clock(), FailingDisk(lambda _, __: 0)
    journal = journal_of(tmp_path, disk=disk, clock=clock)
    journal.append(b"a")
    disk.fails = lambda verb, _: number if verb == "write" else 0
    kind = JournalFailed if number == errno.EIO else JournalFull
    with pytest.raises(kind):
        journal.append(b"b")
    with pytest.raises(kind, match=os.strerror(number)) as refused:
        journal.check()
    assert (refused.value.status, refused.value.retry_after_s) == (503, 1.0)
    clock.now += 1
    with pytest.raises(kind):
        journal.check()
    disk.fails = lambda _, __: 0
    with pytest.raises(kind):
        journal.check()  # it is not tried at every call
    clock.now += 1
    journal.check()
    journal.append(b"c")
    state = journal.state()
    assert (state.status, state.appended, state.dropped, state.last_error) == ("ok", 2, 1, os.strerror(number))
    assert read_all(tmp_path) == [b"a", b"c"]


def test_serving_and_alarming_counts_what_it_drops(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, disk = Clock(), FailingDisk(lambda _, __: 0)
    journal = journal_of(tmp_path, disk=disk, clock=clock, on_full="serve_and_alarm")
    disk.fails = lambda verb, _: errno.ENOSPC if verb == "write" else 0
    for _ in range(3):
        journal.check()
        journal.append(b"lost")
    assert (journal.state().status, journal.state().dropped) == ("full", 3)
    assert len([line for line in caplog.records if line.levelno == logging.ERROR]) == 1
    disk.fails = lambda _, __: 0
    clock.now += 1
    journal.append(b"kept")
    assert (journal.state().status, journal.state().dropped) == ("ok", 3)
    assert read_all(tmp_path) == [b"kept"]


def test_a_probe_finds_room_for_more_than_a_header(tmp_path: Path) -> None:
    """A full disk often takes a few bytes: the journal is not well again for that."""
    clock, disk = Clock(), FailingDisk(lambda _, __: 0)
    journal = journal_of(tmp_path, disk=disk, clock=clock)
    disk.fails = lambda verb, _: errno.ENOSPC if verb == "write" else 0
    with pytest.raises(JournalFull):
        journal.append(b"x")
    writes = iter([0, -100, errno.ENOSPC])
    disk.fails = lambda verb, _: next(writes) if verb == "write" else 0
    clock.now += 1
    with pytest.raises(JournalFull):
        journal.check()
    assert list(tmp_path.iterdir()) == []


def test_past_the_limit_new_calls_are_refused_and_running_ones_recorded(tmp_path: Path) -> None:
    clock = Clock()
    journal = journal_of(tmp_path, limit_bytes=16_000, segment_bytes=1000, clock=clock)
    count = 0
    while journal.state().status == "ok":
        journal.append(b"x" * 500)
        count += 1
    assert 16_000 <= journal.state().backlog.bytes < 18_000
    with pytest.raises(JournalFull, match="16000"):
        journal.check()
    journal.append(b"of a call that was taken before")
    assert len(read_all(tmp_path)) == count + 1
    for segment in segments(tmp_path)[:5]:
        segment.unlink()
    clock.now += 1
    journal.check()


def test_past_the_limit_serving_and_alarming_drops(tmp_path: Path) -> None:
    clock = Clock()
    journal = journal_of(tmp_path, limit_bytes=16_000, segment_bytes=1000, clock=clock, on_full="serve_and_alarm")
    for _ in range(100):
        journal.append(b"x" * 500)
        journal.check()
    state = journal.state()
    assert state.status == "full"
    assert state.backlog.bytes < 18_000
    assert state.appended + state.dropped == 100
    assert len(read_all(tmp_path)) == state.appended


def test_segments_of_other_workers_count(tmp_path: Path) -> None:
    filled(tmp_path, 100)
    journal = journal_of(tmp_path, limit_bytes=5000)
    with pytest.raises(JournalFull):
        journal.check()


def test_two_writers_share_a_limit_and_go_on_when_the_drain_made_room(tmp_path: Path) -> None:
    clock, sink = Clock(), MemorySink()
    writers = [journal_of(tmp_path, limit_bytes=32_000, writers=2, clock=clock) for _ in range(2)]
    drain, count = Drain(tmp_path, sink), 0
    for _ in range(3):
        while open_for_more := [writer for writer in writers if writer.state().status == "ok"]:
            for writer in open_for_more:
                writer.append(encode(a_record(f"r{count}", error_text="x" * 400)))
                count += 1
        for writer in writers:
            with pytest.raises(JournalFull):
                writer.check()
        assert 32_000 <= writers[0].state().backlog.bytes < 32_000 + 2000 + 2 * 600
        while not drain.drain_once():
            pass
        clock.now += 1
        for writer in writers:
            writer.check()
    assert {record.request_id for record in sink.kept.values()} == {f"r{n}" for n in range(count)}
    assert sum(sink.batches) == count == sum(writer.state().appended for writer in writers)


def test_workers_with_nothing_to_do_do_not_fill_the_directory(tmp_path: Path) -> None:
    """A segment stays while its writer lives, though it is drained."""
    writers = [journal_of(tmp_path, limit_bytes=64_000, writers=8) for _ in range(8)]
    drain = Drain(tmp_path, MemorySink())
    for writer in writers:
        for _ in range(20):
            writer.append(encode(a_record(error_text="x" * 400)))
        while not drain.drain_once():
            pass
    assert writers[0].state().backlog.bytes < 16_000 + 8 * 600
    for writer in writers:
        writer.check()


def test_a_record_that_no_reader_would_take_is_refused(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    with pytest.raises(JournalFailed, match="too large"):
        journal.append(bytes(64 * 1024 * 1024 + 1))
    journal.check()


def test_a_later_format_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "x.journal"
    fields = bytearray(header()[:12])
    fields[8] = 2
    path.write_bytes(bytes(fields) + crc32(fields).to_bytes(4, "little"))
    with path.open("rb") as file, pytest.raises(NewerFormat, match="start the release"):
        check_header(file.fileno())


def test_segments_of_the_first_record_format_are_drained(tmp_path: Path) -> None:
    fields = header()[:10] + b"\x01\x00"
    record = a_record(content=Content("[]", "text"))
    segment = fields + crc32(fields).to_bytes(4, "little") + frame(encode(record))
    (tmp_path / "x.journal").write_bytes(segment)
    sink = MemorySink()
    assert Drain(tmp_path, sink).drain_once()
    assert sink.kept == {record.id: record}


@pytest.mark.parametrize(
    ("rest", "kind"),
    [
        (frame(b"last")[:-1], TornTail),
        (frame(b"last")[:3], TornTail),
        (frame(b"last")[:-1] + b"?", TornTail),
        (bytes(5000), TornTail),
        (frame(b"middle")[:-1] + b"?" + frame(b"last"), Damaged),
        (bytes(50) + frame(b"last"), Damaged),
        (b"\xff" * 20, Damaged),
    ],
)
def test_what_a_crash_leaves_is_told_from_damage(tmp_path: Path, rest: bytes, kind: type) -> None:
    path = tmp_path / "x.journal"
    intact = header() + frame(b"first")
    path.write_bytes(intact + rest)
    payloads, stopped = read(path)
    assert payloads == [b"first"]
    assert type(stopped) is kind
    assert stopped.offset == len(intact)


def test_a_frame_inside_a_text_is_never_read(tmp_path: Path) -> None:
    """A caller may send what looks like a frame; a damaged length before it must not bring it to light."""
    path = tmp_path / "x.journal"
    outer = bytearray(frame(b"hi" + frame(b"forged") + frame(b"forged")))
    outer[0] = 2
    path.write_bytes(header() + outer)
    assert read(path)[0] == []


def test_a_position_survives_and_nonsense_is_the_start(tmp_path: Path) -> None:
    segment = tmp_path / "x.journal"
    assert read_position(segment) == HEADER_BYTES
    write_position(segment, 12345)
    assert read_position(segment) == 12345
    position = next(tmp_path.iterdir())
    for nonsense in (b"", b"12345", b"12346 " + position.read_bytes()[6:], b"\xff\xff"):
        position.write_bytes(nonsense)
        assert read_position(segment) == HEADER_BYTES


def test_the_drain_takes_all_and_removes_what_is_complete(tmp_path: Path) -> None:
    payloads = filled(tmp_path, 60, segment_bytes=1000)
    sink = MemorySink()
    drain = Drain(tmp_path, sink, batch=10)
    assert drain.drain_once()
    assert list(sink.kept.values()) == [decode(payload) for payload in payloads]
    assert max(sink.batches) <= 10
    assert list(tmp_path.iterdir()) == []
    assert (drain.state().drained, drain.state().inserted) == (60, 60)


def test_the_drain_follows_a_live_segment_and_keeps_it(tmp_path: Path) -> None:
    journal, sink = journal_of(tmp_path), MemorySink()
    drain = Drain(tmp_path, sink)
    for n in range(3):
        journal.append(encode(a_record(f"r{n}")))
        assert drain.drain_once()
        assert [record.request_id for record in sink.kept.values()] == [f"r{m}" for m in range(n + 1)]
    assert sink.batches == [1, 1, 1]
    assert len(segments(tmp_path)) == 1
    assert drain.state().backlog.undrained_bytes == 0
    journal.close()
    assert drain.drain_once()
    assert list(tmp_path.iterdir()) == []


def test_the_next_drain_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    journal.append(encode(a_record("first")))
    Drain(tmp_path, MemorySink()).drain_once()
    journal.append(encode(a_record("second")))
    sink = MemorySink()
    Drain(tmp_path, sink).drain_once()
    assert [record.request_id for record in sink.kept.values()] == ["second"]


def test_a_live_tail_is_left_alone_and_a_dead_one_set_aside(tmp_path: Path) -> None:
    journal, sink = journal_of(tmp_path), MemorySink()
    journal.append(encode(a_record("whole")))
    [segment] = segments(tmp_path)
    tail = frame(b"x" * 100)[:50]
    with segment.open("ab") as file:
        file.write(tail)
    drain = Drain(tmp_path, sink)
    assert drain.drain_once()
    assert (segment.exists(), drain.state().torn, drain.state().last_error) == (True, 0, None)
    journal.close()
    assert drain.drain_once()
    assert len(sink.kept) == 1
    [aside] = tmp_path.iterdir()
    assert (aside.name, aside.read_bytes()) == (segment.name + ".torn", tail)
    assert (drain.state().torn, drain.state().backlog.set_aside) == (1, 1)


def test_damage_costs_what_is_behind_it_and_is_kept(tmp_path: Path) -> None:
    payloads = filled(tmp_path, 10)
    [segment] = segments(tmp_path)
    content = bytearray(segment.read_bytes())
    at = HEADER_BYTES + sum(8 + len(payload) for payload in payloads[:4])
    content[at + 20] ^= 1
    segment.write_bytes(content)
    sink = MemorySink()
    drain = Drain(tmp_path, sink)
    assert drain.drain_once()
    assert list(sink.kept.values()) == [decode(payload) for payload in payloads[:4]]
    [aside] = tmp_path.iterdir()
    assert (aside.suffix, aside.read_bytes()) == (".damaged", bytes(content[at:]))
    assert drain.state().damaged == 1


def test_damage_in_a_live_segment_waits_for_its_writer_and_holds_up_nobody(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    for n in range(3):
        journal.append(encode(a_record(f"r{n}")))
    [segment] = segments(tmp_path)
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    filled(tmp_path, 1)
    sink = MemorySink()
    drain = Drain(tmp_path, sink)
    assert drain.drain_once()
    assert [record.request_id for record in sink.kept.values()] == ["r0", "r0"]
    assert "damaged frame" in str(drain.state().last_error)
    assert segments(tmp_path) == [segment]
    journal.close()
    assert drain.drain_once()
    assert (drain.state().damaged, drain.state().last_error, segments(tmp_path)) == (1, None, [])


def test_a_later_format_is_left_where_it_is_and_holds_up_nobody(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    newer = tmp_path / "0-000001.journal"
    fields = header()[:8] + b"\x07\x00" + header()[10:12]
    newer.write_bytes(fields + crc32(fields).to_bytes(4, "little") + frame(b"from the future"))
    sink = MemorySink()
    drain = Drain(tmp_path, sink)
    assert drain.drain_once()
    assert len(sink.kept) == 1
    assert list(tmp_path.iterdir()) == [newer]
    assert "journal format 7" in str(drain.state().last_error)


def test_a_sink_that_fails_loses_nothing_and_other_segments_go_on(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    first = segments(tmp_path)[0]
    bad = read(first)[0][0]
    filled(tmp_path, 3)
    sink = MemorySink(lambda batch: ConnectionError("away") if batch[0].id == decode(bad).id else None)
    drain = Drain(tmp_path, sink)
    assert not drain.drain_once()
    assert len(sink.kept) == 3
    state = drain.state()
    assert (state.failures, state.backlog.segments) == (1, 1)
    assert "ConnectionError: away" in str(state.last_error)
    assert state.backlog.oldest_s is not None
    sink.failure = lambda _: None
    assert drain.drain_once()
    assert len(sink.kept) == 6
    assert drain.state().last_error is None


def test_a_bad_record_is_buried_alone(tmp_path: Path) -> None:
    payloads = filled(tmp_path, 20)
    bad = {decode(payloads[5]).id, decode(payloads[11]).id}

    def refuse(batch):
        return next((BadRecord(record.id, "for this test") for record in batch if record.id in bad), None)

    sink = MemorySink(refuse)
    drain = Drain(tmp_path, sink)
    assert drain.drain_once()
    assert len(sink.kept) == 18
    assert read_all(tmp_path / DEAD_LETTERS) == [payloads[5], payloads[11]]
    assert (drain.state().dead_letters, drain.state().drained) == (2, 20)


def test_what_is_no_record_is_buried_too(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    journal.append(b"no record")
    journal.append(encode(a_record("fine")))
    journal.close()
    sink = MemorySink()
    drain = Drain(tmp_path, sink)
    assert drain.drain_once()
    assert len(sink.kept) == 1
    assert read_all(tmp_path / DEAD_LETTERS) == [b"no record"]


def test_the_oldest_record_that_waits_tells_its_age(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    ended_ms = int(time.time() * 1000) - 60_000
    journal.append(encode(a_record("old", started_at_ms=ended_ms - 30_000, total_ms=30_000.0)))
    journal.append(encode(a_record("new", started_at_ms=int(time.time() * 1000))))
    found = journal.state().backlog
    assert found.oldest_s is not None
    assert 59 < found.oldest_s < 120
    assert found.undrained_bytes == found.bytes - HEADER_BYTES
    Drain(tmp_path, MemorySink()).drain_once()
    assert journal.state().backlog.oldest_s is None


def test_what_was_left_between_two_steps_is_removed(tmp_path: Path) -> None:
    write_position(tmp_path / "gone.journal", 100)
    (tmp_path / "made.journal.new").write_bytes(b"")
    journal = journal_of(tmp_path)
    journal.append(b"x")
    [segment] = segments(tmp_path)
    write_position(segment, HEADER_BYTES)
    drain = Drain(tmp_path, MemorySink())
    drain.start()
    assert drain.stop(final=False)
    assert {path.name for path in tmp_path.iterdir()} >= {segment.name}
    assert not (tmp_path / "gone.journal.position").exists()
    assert not (tmp_path / "made.journal.new").exists()


def test_the_thread_drains_and_stops_with_nothing_left(tmp_path: Path) -> None:
    journal, sink = journal_of(tmp_path), MemorySink()
    drain = Drain(tmp_path, sink, interval_s=0.01)
    drain.start()
    for n in range(500):
        journal.append(encode(a_record(f"r{n}")))
    journal.close()
    assert drain.stop(final=True)
    assert len(sink.kept) == 500
    assert backlog(tmp_path).segments == 0


def test_a_final_drain_keeps_its_deadline(tmp_path: Path) -> None:
    filled(tmp_path, 10)
    drain = Drain(tmp_path, MemorySink(lambda _: ConnectionError("away")))
    drain.start()
    assert drain.stop(final=True, deadline_s=0.3)
    assert backlog(tmp_path).segments == 1


def test_a_position_that_cannot_be_written_does_not_stop_the_drain(tmp_path: Path) -> None:
    """A disk that the journal filled must be emptied, not waited for."""
    filled(tmp_path, 6)
    [segment] = segments(tmp_path)
    segment.with_name(segment.name + ".position").symlink_to(tmp_path / "nowhere" / "position")
    sink = MemorySink()
    drain = Drain(tmp_path, sink, batch=1)
    assert not drain.drain_once()
    assert drain.drain_once()
    assert sink.batches == [1] * 6
    assert segments(tmp_path) == []


def test_what_could_not_be_drained_is_forgotten_in_time(tmp_path: Path) -> None:
    journal = journal_of(tmp_path / DEAD_LETTERS)
    journal.append(b"buried")
    for name in ("old.journal.torn", "old.journal.damaged", "young.journal.torn"):
        (tmp_path / name).write_bytes(b"rest")
    [open_segment] = segments(tmp_path / DEAD_LETTERS)
    for path in (*tmp_path.glob("old.*"), open_segment):
        os.utime(path, (1_000, 1_000))
    assert sorted(path.name for path in forget_leftovers(tmp_path, 2_000)) == [
        "old.journal.damaged",
        "old.journal.torn",
    ]
    journal.close()
    os.utime(open_segment, (1_000, 1_000))
    assert forget_leftovers(tmp_path, 2_000) == [open_segment]
    assert [path.name for path in tmp_path.glob("*.torn")] == ["young.journal.torn"]
