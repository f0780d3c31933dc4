"""The HTTP/1.1 server: ASGI on asyncio and httptools, hardened against slow, silent and oversized peers."""
