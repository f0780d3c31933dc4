"""What the journal could not be drained of. It holds what was said, and is kept no longer than that."""

from contextlib import suppress
from pathlib import Path

from dujiang.records.drain import DEAD_LETTERS
from dujiang.records.segments import DAMAGED_SUFFIX, TORN_SUFFIX, is_live, segments


def forget_leftovers(journal: Path, before_s: float) -> list[Path]:
    """Removes torn and damaged bytes, and finished segments of dead letters, last written before `before_s` (Unix
    seconds). Tells which; files that vanish meanwhile are nobody's loss.
    """
    set_aside = [path for path in journal.glob("*") if path.suffix in {TORN_SUFFIX, DAMAGED_SUFFIX}]
    buried = [path for path in segments(journal / DEAD_LETTERS) if not _is_open(path)]
    old: list[Path] = []
    for path in (*set_aside, *buried):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before_s:
                path.unlink()
                old.append(path)
    return old


def _is_open(segment: Path) -> bool:
    with segment.open("rb", buffering=0) as file:
        return is_live(file.fileno())
