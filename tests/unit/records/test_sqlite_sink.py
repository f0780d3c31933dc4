"""What only the files of SQLite do."""

from datetime import date

from benchmarks.calls import Traffic
from dujiang.records.moments import DAY_MS, start_of
from dujiang.records.sink import SqliteSink

START = start_of(date(2026, 3, 4))


def test_a_day_before_that_cannot_be_folded_holds_up_nothing(tmp_path, caplog):
    (tmp_path / "2026-03-03.db").write_bytes(b"no database" * 100)
    sink = SqliteSink(tmp_path)
    assert sink.insert(list(Traffic(1).spread(50, start_ms=START, end_ms=START + DAY_MS))) == 50
    assert "2026-03-03 are not folded" in caplog.text
    sink.close()
