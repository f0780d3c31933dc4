"""The calls that are being answered, and how they are ended when the server must stop."""

import asyncio
from collections.abc import Iterator

from dujiang.core.call import Call
from dujiang.core.errors import AppError


class OpenCall:
    """A task that answers a request, the call once there is one, and the error to end it with when it is cancelled."""

    __slots__ = ("call", "reason", "task")

    def __init__(self, task: "asyncio.Task[None]") -> None:
        self.task = task
        self.call: Call | None = None
        self.reason: AppError | None = None


class OpenCalls:
    """Every call that is being answered."""

    def __init__(self) -> None:
        self._open: set[OpenCall] = set()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Call]:
        return (entry.call for entry in self._open if entry.call is not None)

    def enter(self, task: "asyncio.Task[None]") -> OpenCall:
        entry = OpenCall(task)
        self._open.add(entry)
        return entry

    def leave(self, entry: OpenCall) -> None:
        self._open.discard(entry)

    def end_all(self, error: AppError) -> None:
        """Cancel every open call; each tells its caller `error`, and carries it in its `CancelledError`."""
        for entry in list(self._open):
            entry.reason = error
            entry.task.cancel(error)
