"""Taking up what other processes did to the keys."""

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from dujiang.identity.key_ring import KeyRing, load_keys
from dujiang.identity.tables import keys
from dujiang.storage.database import Database
from dujiang.storage.news import News

LOOK_S = 0.5

_log = logging.getLogger(__name__)


async def follow_keys(database: Database, on_change: Callable[[KeyRing], None], news: News) -> None:
    """Hand over the keys whenever some were made or revoked, until cancelled: looked at now and then, and when there
    are news. A database that fails changes nothing.
    """
    mark: tuple[object, ...] | None = None
    while True:
        try:
            latest = await asyncio.to_thread(_mark, database)
            if latest != mark:
                on_change(await asyncio.to_thread(load_keys, database))
            mark = latest
        except SQLAlchemyError as error:
            _log.warning("the keys cannot be read, the known ones stay: %s", type(error).__name__)
        await news.wait(LOOK_S)


def _mark(database: Database) -> tuple[object, ...]:
    """Something that differs after every change of the keys."""
    with database.read() as connection:
        row = connection.execute(select(func.count(), func.max(keys.c.created_at), func.count(keys.c.revoked_at)))
        return tuple(row.one())
