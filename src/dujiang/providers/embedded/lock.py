"""A lock between processes: one pull of a model at a time. It falls with the process that holds it."""

import fcntl
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

_RETRY_S = 0.2


@contextmanager
def locked(path: Path, timeout_s: float, on_wait: Callable[[], None]) -> Generator[None]:
    """Hold the lock file. `on_wait` is called once where another process has it. Raises `TimeoutError`."""
    deadline = time.monotonic() + timeout_s
    with path.open("w") as file:
        is_told = False
        while not _take(file.fileno()):
            if not is_told:
                on_wait()
                is_told = True
            if time.monotonic() > deadline:
                raise TimeoutError(f"another process has held {path} for {timeout_s:.0f} s")
            time.sleep(_RETRY_S)
        yield


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
