"""Python's collector of cycles, kept from stopping every thread while much is made that has no cycles."""

import gc
from collections.abc import Generator
from contextlib import contextmanager

MANY = 50_000
"""New objects, of which the collector would look at each several times, tens of milliseconds in a row."""


@contextmanager
def uncollected() -> Generator[None]:
    """No collection in the block. Where it left many objects behind, none of those that exist now is looked at again:
    they go when nobody refers to them any more, and only cycles made meanwhile stay.
    """
    gc.disable()
    try:
        yield
    finally:
        if gc.get_count()[0] > MANY:
            gc.freeze()
        gc.enable()
