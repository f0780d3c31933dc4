"""How PostgreSQL says what SQLite's own aggregates of ours do: it collects, and the reader adds."""

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction


class MergedHistograms(GenericFunction[Any]):
    name = "merged_histograms"
    inherit_cache = True


class CountedDurations(GenericFunction[Any]):
    name = "counted_durations"
    inherit_cache = True


@compiles(MergedHistograms, "postgresql")
@compiles(CountedDurations, "postgresql")
def _collected(element: GenericFunction[Any], compiler: SQLCompiler, **options: Any) -> str:
    return f"array_agg({compiler.process(element.clauses, **options)})"
