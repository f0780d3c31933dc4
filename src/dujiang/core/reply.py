"""An opened answer: an asynchronous stream of chunks that is closed exactly once."""

from collections.abc import Callable

from dujiang.core.chat import Chunk


class Reply:
    """The base of every answer. Opening one returned only after its first real chunk arrived.

    Iterate it to the end, then close it; or close it early, which ends the work upstream. `is_complete` tells the two
    apart afterwards. Stages leave their bookkeeping with `on_close`: inner stages first, each exactly once.
    A class and not a generator: closing a generator that never started would skip its `finally`.
    """

    __slots__ = ("_closers", "is_closed", "is_complete")

    def __init__(self) -> None:
        self.is_complete = False
        self.is_closed = False
        self._closers: list[Callable[[Reply], None]] = []

    def __aiter__(self) -> "Reply":
        return self

    async def __anext__(self) -> Chunk:
        raise NotImplementedError

    def release(self) -> None:
        """Give back what the answer holds (its connection). Called once, before the bookkeeping."""

    def on_close(self, closer: "Callable[[Reply], None]") -> None:
        self._closers.append(closer)

    def close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        try:
            self.release()
        finally:
            for closer in self._closers:
                closer(self)


class WholeReply(Reply):
    """An answer that was whole when it arrived: a stream of one chunk."""

    __slots__ = ("_chunk",)

    def __init__(self, chunk: Chunk) -> None:
        super().__init__()
        self._chunk: Chunk | None = chunk

    async def __anext__(self) -> Chunk:
        chunk = self._chunk
        if chunk is None:
            raise StopAsyncIteration
        self._chunk = None
        self.is_complete = True
        return chunk
