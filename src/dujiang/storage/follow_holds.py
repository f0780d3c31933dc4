"""Taking up what operators say of targets, to other processes too."""

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from dujiang.storage.database import Database
from dujiang.storage.holds import Holds, changed_holds
from dujiang.storage.news import News

LOOK_S = 0.5

_log = logging.getLogger(__name__)


async def follow_holds(
    database: Database, known: Callable[[], Holds], on_change: Callable[[Holds], None], news: News
) -> None:
    """Hand over what is held whenever that changed, until cancelled: looked at now and then, and when there are news.
    `known` gives what is followed. A database that fails changes nothing.
    """
    while True:
        try:
            holds = await asyncio.to_thread(changed_holds, database, known().mark)
            if holds is not None:
                on_change(holds)
        except SQLAlchemyError as error:
            _log.warning("what operators said of targets cannot be read: %s", type(error).__name__)
        await news.wait(LOOK_S)
