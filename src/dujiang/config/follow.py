"""Taking up the revisions that other processes make."""

import logging
from collections.abc import Awaitable, Callable

from dujiang.core.errors import AppError, LimitExceeded
from dujiang.storage.database import DatabaseAway
from dujiang.storage.news import News

LOOK_S = 0.5

_log = logging.getLogger(__name__)


async def follow_config(follow: Callable[[], Awaitable[None]], news: News) -> None:
    """Look for a newer revision now and then, and when there are news, until cancelled.

    One that cannot be used leaves the one before at work; a database that fails, or a configuration that is busy,
    changes nothing.
    """
    while True:
        await news.wait(LOOK_S)
        try:
            await follow()
        except LimitExceeded:
            continue
        except DatabaseAway as error:
            _log.warning("the configuration cannot be read, the known one stays: %s", error.message)
        except AppError as error:
            _log.error("a newer revision of the configuration cannot be taken up: %s", error.message)
