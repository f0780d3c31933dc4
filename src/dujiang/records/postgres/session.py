"""A connection of the drain's or of retention's own, opened when it is needed and again after it broke."""

from collections.abc import Generator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import psycopg

from dujiang.storage.postgresql import Address, BoundedConnection, connect_to

STATEMENT_TIMEOUT_S = 8.0
ANSWER_TIMEOUT_S = 9.0


class Session:
    """Transactions one after another, from any thread; `close()` it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: BoundedConnection | None = None
        self._lock = Lock()
        self.label = address.label

    @contextmanager
    def transaction(self) -> Generator[psycopg.Cursor[Any]]:
        """Commits at the end of the block and rolls back on any exception. What is committed survives a failure of
        power. Raises `psycopg.Error`; whether a commit that was not answered took place, nobody knows.
        """
        with self._lock:
            connection = self._open()
            try:
                with connection.transaction(), connection.cursor(binary=True) as cursor:
                    yield cursor
            finally:
                if connection.closed or connection.broken:
                    self._connection = None
                    connection.close()

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> BoundedConnection:
        if self._connection is None:
            self._connection = connect_to(
                self._address, statement_timeout_s=STATEMENT_TIMEOUT_S, answer_timeout_s=ANSWER_TIMEOUT_S
            )
        return self._connection
