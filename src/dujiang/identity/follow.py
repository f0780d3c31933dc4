"""Taking up what was done to keys and users, by other processes too."""

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from dujiang.identity.key_ring import KeyRing, load_keys
from dujiang.identity.keys import MARK
from dujiang.identity.users import Users, changed_users
from dujiang.storage.database import Database
from dujiang.storage.marks import read_mark
from dujiang.storage.news import News

LOOK_S = 0.5

_log = logging.getLogger(__name__)


async def follow_keys(
    database: Database, known: Callable[[], KeyRing], users: Users, on_change: Callable[[KeyRing], None], news: News
) -> None:
    """Hand over the keys and renew `users` whenever some were changed, until cancelled: looked at now and then, and
    when there are news. `known` gives the keys that are at work. A database that fails changes nothing.
    """
    while True:
        try:
            mark = await asyncio.to_thread(_mark, database)
            if mark > min(known().mark, users.mark):
                on_change(await renewed(database, known(), users))
        except SQLAlchemyError as error:
            _log.warning("the keys cannot be read, the known ones stay: %s", type(error).__name__)
        await news.wait(LOOK_S)


async def renewed(database: Database, known: KeyRing, users: Users) -> KeyRing:
    """The keys as they are now; and `users` knows of users what is said now."""
    users.take(*await asyncio.to_thread(changed_users, database, users.mark))
    return await asyncio.to_thread(load_keys, database, known)


def _mark(database: Database) -> int:
    with database.read() as connection:
        return read_mark(connection, MARK)
