"""An opened answer: an asynchronous stream of chunks that is closed exactly once."""

from collections.abc import Callable, Iterator

from dujiang.core.chat import Chunk, Usage
from dujiang.core.errors import AppError


class Reply:
    """The base of every answer. Opening one returned only after its first real chunk arrived.

    Iterate it to the end, then close it; or close it early, which ends the work upstream. Its last chunk, and only
    that, carries `finish` and `usage`; from then on it is `last`. Stages leave their bookkeeping with `on_close`: inner
    stages first, each exactly once; there `is_complete` tells a whole answer from a broken one (`error` is set) and an
    abandoned one (it is not). A class and not a generator: closing a generator that never started would skip its
    `finally`.

    Whoever wants the text of a stream at its end sets `said` to an empty list before the first chunk is taken.
    """

    __slots__ = ("_closers", "error", "is_closed", "is_complete", "last", "said", "spent")

    def __init__(self) -> None:
        self.is_complete = False
        self.is_closed = False
        self.last: Chunk | None = None
        self.spent: Usage | None = None
        self.said: list[str] | None = None
        self.error: AppError | None = None
        self._closers: list[Callable[[Reply], None]] = []

    def __aiter__(self) -> "Reply":
        return self

    async def __anext__(self) -> Chunk:
        raise NotImplementedError

    @property
    def usage(self) -> Usage | None:
        """What the answer used: of a complete one, what its last chunk says; of another, `spent`, as far as known."""
        return self.last.usage if self.last is not None else self.spent

    def release(self) -> None:
        """Give back what the answer holds (its connection). Called once, before the bookkeeping.

        An answer that is not complete leaves in `spent` what it has used so far.
        """

    def on_close(self, closer: "Callable[[Reply], None]") -> None:
        self._closers.append(closer)

    def close(self) -> None:
        """End the answer. Never waits, so that no cancellation can come between; idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        try:
            self.release()
        finally:
            self._settle(iter(self._closers))

    def _settle(self, closers: "Iterator[Callable[[Reply], None]]") -> None:
        """Every closer has its turn, also after one that raised; what the first raised is raised."""
        try:
            for closer in closers:
                closer(self)
        except BaseException:
            self._settle(closers)
            raise


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
        self.last = chunk
        self.is_complete = True
        return chunk
