"""Waiting that news cut short."""

import asyncio

from dujiang.config.follow import follow_config
from dujiang.storage.news import News


def test_news_end_the_wait_and_the_one_after_it_waits_again() -> None:
    async def main() -> None:
        news = News()
        news.tell()
        await news.wait(60)
        waiting = asyncio.create_task(news.wait(60))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        news.tell(b"anything")
        news.tell(b"again")
        await waiting
        await news.wait(0.01)  # nothing new: the time is what ends it

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_follower_looks_as_soon_as_it_is_told() -> None:
    async def main() -> None:
        news, looked = News(), asyncio.Event()

        async def look() -> None:
            looked.set()

        following = asyncio.create_task(follow_config(look, news))
        for _ in range(3):
            looked.clear()
            news.tell()
            await looked.wait()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), 20))
