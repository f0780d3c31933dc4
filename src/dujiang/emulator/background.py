"""An emulator in a thread of its own, for tests that block."""

import asyncio
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import uvloop

from dujiang.emulator.server import Emulator, start


@contextmanager
def running(script: Mapping[str, str] | None = None) -> Generator[Emulator]:
    """An emulator on a free port of 127.0.0.1, stopped at the end. `script` maps models to behaviours."""
    loop = uvloop.new_event_loop()
    emulator = loop.run_until_complete(start(script=script))
    thread = threading.Thread(target=loop.run_forever, name="emulator", daemon=True)
    thread.start()
    try:
        yield emulator
    finally:
        asyncio.run_coroutine_threadsafe(emulator.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
