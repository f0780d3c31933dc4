"""The dated part of a model's name: `gpt-4-0613` -> `0613`, `gpt-4o-2024-08-06` -> `2024-08-06`."""

import re
from functools import lru_cache

_DATE = re.compile(
    r"[-@](20\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
    r"|(?:20)?\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))(?:-preview)?$"
)


@lru_cache(maxsize=1024)
def dated_part(served: str) -> str:
    """The date at the end of a vendor's model name, as it is written there; empty when there is none."""
    found = _DATE.search(served)
    return found.group(1) if found else ""
