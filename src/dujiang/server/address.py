"""The address that a server listens on, for one worker or several."""

import socket
from collections.abc import Generator
from contextlib import contextmanager

from dujiang.core.errors import Misconfigured


class Address:
    """A port that is ours. `socket` is bound to it; whether it listens is its user's to say."""

    def __init__(self, socket: socket.socket, *, is_shared: bool) -> None:
        self._socket = socket
        self._is_shared = is_shared

    @property
    def url(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def open(self) -> socket.socket:
        """The socket for one worker, inheritable, and to be closed once the worker has it.

        A worker that is alone gets a copy of the socket that we keep: while it is started anew, connections wait. Of
        several, each gets a socket of its own (`SO_REUSEPORT`), which ends with it: the kernel deals connections out
        evenly among the sockets that listen. On one socket for all, whoever wakes first takes what is there: of 64
        connections made at once, one of four workers got none. Raises `OSError`.
        """
        if self._is_shared:
            opened = _bound(self._socket.family, self._socket.getsockname(), is_shared=True)
        else:
            opened = self._socket.dup()
        opened.set_inheritable(True)
        return opened

    def close(self) -> None:
        self._socket.close()


@contextmanager
def bound(host: str, port: int, *, is_shared: bool) -> Generator[Address]:
    """Have an address, for several workers where it `is_shared`; port 0 takes a free one.

    Raises `Misconfigured` when it cannot be had, another server's `SO_REUSEPORT` notwithstanding.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        ours = _bound(family, address, is_shared=False)
        if is_shared:
            with ours as probe:
                address = probe.getsockname()
            ours = _bound(family, address, is_shared=True)
    except OSError as error:
        raise Misconfigured(f"Cannot listen on {host}:{port} ({error.strerror}): give another `--port`.") from error
    with ours:
        yield Address(ours, is_shared=is_shared)


def _bound(family: int, address: object, *, is_shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(address)  # pyright: ignore[reportArgumentType]
    except OSError:
        made.close()
        raise
    return made
