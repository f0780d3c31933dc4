"""The calls that are being answered, and how they are ended when the server must stop."""

import asyncio

from dujiang.core.errors import AppError


class OpenCalls:
    """Every task that answers a call. A task cancelled through here finds the error to end its answer with."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], AppError | None] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def enter(self, task: "asyncio.Task[None]") -> None:
        self._tasks[task] = None

    def leave(self, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(task, None)

    def end_all(self, error: AppError) -> None:
        """Cancel every open call; each tells its caller `error`."""
        for task in list(self._tasks):
            self._tasks[task] = error
            task.cancel()

    def reason(self, task: "asyncio.Task[None]") -> AppError | None:
        """Why a task was cancelled: an error to tell the caller, or None when the caller is gone."""
        return self._tasks.get(task)
