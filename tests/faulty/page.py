"""The table of the fault matrix in the documentation, between its marks."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
PAGES = (_ROOT / "docs" / "reliability.md", _ROOT / "docs" / "reliability.zh.md")

_MARKS = re.compile(r"(<!-- campaign-faults: begin -->\n).*(<!-- campaign-faults: end -->\n)", re.DOTALL)
_HEADS = {
    False: ("row", "fault", "settings", "measured", "must", "runs"),
    True: ("行", "故障", "设置", "实测", "要求", "次数"),
}


def with_table(page: str, rows: Sequence[Mapping[str, Any]], *, is_chinese: bool) -> str:
    """The page with what stands between the marks of the campaign replaced."""
    head = _HEADS[is_chinese]
    lines = [head, tuple("---" for _ in head), *(_cells(row, row["zh" if is_chinese else "fault"]) for row in rows)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return _MARKS.sub(lambda marks: f"{marks[1]}\n{table}\n{marks[2]}", page)


def _cells(row: Mapping[str, Any], fault: str) -> tuple[str, ...]:
    measured = (f"{name.replace('_', ' ')} {figure['median']:.4g}" for name, figure in row["figures"].items())
    must = (
        f"{bound['figure'].replace('_', ' ')} {bound['relation']} {bound['value']:g}"
        + ("" if bound["holds"] else " **missed**")
        for bound in row["bounds"]
    )
    settings = json.dumps(row["resilience"]) if row["resilience"] else ""
    return (
        row["row"],
        fault,
        f"`{settings}`" if settings else "–",
        "<br>".join(measured),
        "<br>".join(must),
        str(row["runs"]),
    )
