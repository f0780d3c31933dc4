"""Waiting for the next look, or for word that there is something to see."""

import asyncio


class News:
    """Whether something was told since one waited last. News may get lost, so one looks now and then anyway."""

    def __init__(self) -> None:
        self._told = asyncio.Event()

    def tell(self, message: bytes = b"") -> None:
        """End the wait, or the next one. A `Store` calls this with what was published, which does not matter."""
        self._told.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when something is told, at once where it was already, after `timeout_s` anyway."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._told.wait()
        except TimeoutError:
            pass
        self._told.clear()
