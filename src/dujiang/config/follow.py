"""Taking up the revisions that other processes make."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import SQLAlchemyError

from dujiang.core.errors import AppError, LimitExceeded

LOOK_S = 0.5

_log = logging.getLogger(__name__)


async def follow_config(follow: Callable[[], Awaitable[None]], on_trouble: Callable[[str], None]) -> None:
    """Look for a newer revision now and then, until cancelled. One that cannot be used leaves the one before at work;
    a database that fails, or a configuration that is busy, changes nothing.
    """
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            await follow()
        except LimitExceeded:
            continue
        except AppError as error:
            on_trouble(error.message)
            _log.error("a newer revision of the configuration cannot be taken up: %s", error.message)
        except SQLAlchemyError as error:
            _log.warning("the configuration cannot be read, the known one stays: %s", type(error).__name__)
