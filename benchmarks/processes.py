"""Servers under measurement: started on one core, their CPU time and memory read from /proc, ended by their own id."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_START_S = 30.0
_STOP_S = 10.0


def cores() -> tuple[int | None, int | None]:
    """The core for the server under test and the core for load and upstream; (None, None) where there is only one."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


@contextlib.contextmanager
def on_core(core: int | None) -> Generator[None]:
    """What is started inside runs on this core: children inherit the affinity of the thread that starts them."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one, for this process and what it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def process_tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, []))
    return found


def cpu_s(pid: int) -> float:
    """User and system time of the process tree so far, in seconds; as exact as the kernel's tick."""
    fields = [_stat(member) for member in process_tree(pid)]
    return sum(int(field[11]) + int(field[12]) for field in fields) / _TICKS_PER_S


def pss_kib(pid: int) -> int:
    """Proportional set size of the process tree: pages that processes share are counted once, in shares."""
    total = 0
    for member in process_tree(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def wait_until_idle(pid: int, limit_s: float = 6.0) -> None:
    """Wait until the tree uses under 5 % of a core, so that calls left in flight do not load the next run."""
    deadline = time.monotonic() + limit_s
    before = cpu_s(pid)
    while time.monotonic() < deadline:
        time.sleep(0.2)
        now = cpu_s(pid)
        if now - before <= 0.01:
            return
        before = now


def wait_until(is_done: Callable[[], bool], limit_s: float) -> bool:
    """Wait until it says yes; whether it did in time."""
    deadline = time.monotonic() + limit_s
    while not is_done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class ServerFailed(Exception):
    """A server did not start or does not answer as it must; the message ends with its log."""


class Server:
    """A process that listens on a port of 127.0.0.1. Its output goes to a file, shown if it does not start."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        port: int,
        *,
        core: int | None,
        log_dir: Path,
        env: Mapping[str, str],
        cwd: Path,
    ) -> None:
        self.name = name
        self._command = command
        self._port = port
        self._core = core
        self._log = log_dir / f"{name}.log"
        self._env = {**os.environ, **env}
        self._cwd = cwd

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Return when the port accepts connections, else raise `ServerFailed`."""
        with on_core(self._core), self._log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return
            time.sleep(0.05)
        self.stop()
        raise ServerFailed(f"{self.name} did not start:\n{self.log_tail()}")

    def restart(self) -> None:
        """The same server in a fresh process: nothing of its memory is left from earlier loads."""
        self.stop()
        self.start()

    def log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """SIGTERM, then SIGKILL to what is left of the tree."""
        members = process_tree(self.pid)
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            for member in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)
            self._process.wait()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name: [1] parent, [11] user ticks, [12] system ticks."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
