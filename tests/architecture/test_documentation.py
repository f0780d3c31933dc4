"""Documentation that can fail the build."""

from pathlib import Path

import pytest

from benchmarks.page import GATEWAY, PAGE, read_report, with_tables


def test_the_performance_page_shows_the_last_result() -> None:
    if not GATEWAY.exists():
        pytest.skip("no benchmarks/results/gateway.json: run make bench-gateway")
    page = PAGE.read_text()
    assert with_tables(page, read_report(GATEWAY)) == page, "run python -m benchmarks.page"


def test_every_decision_is_listed(root: Path) -> None:
    pages = {page.name for page in (root / "docs/decisions").glob("0*.md")}
    index = (root / "docs/decisions/index.md").read_text()
    assert {page for page in pages if f"({page})" not in index} == set()
