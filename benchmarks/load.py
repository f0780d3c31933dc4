"""Loads on a server: wrk for whole answers where it is installed, our own client for everything else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from benchmarks.client import Load
from benchmarks.processes import on_core

_ROOT = Path(__file__).parents[1]
_SCRIPT = Path(__file__).with_name("chat.lua")
_LIMIT_S = 300.0


class Call(msgspec.Struct, frozen=True):
    """The request that a load repeats: a POST of `body_file` to 127.0.0.1."""

    port: int
    path: str
    body_file: Path
    key: str


def generator() -> str:
    """The name of what generates load for whole answers."""
    return "wrk" if shutil.which("wrk") else "own client"


def whole(call: Call, *, connections: int, seconds: int, core: int | None) -> Load:
    """Keep-alive connections that each ask again as soon as they are answered."""
    if generator() != "wrk":
        command = _client(call, f"--connections={connections}", f"--seconds={seconds}")
        return msgspec.json.decode(_output(command, core, dict(os.environ)), type=Load)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", str(_SCRIPT)]
    env = {**os.environ, "BODY_FILE": str(call.body_file), "KEY": call.key}
    output = _output([*command, f"http://127.0.0.1:{call.port}{call.path}"], core, env)
    line = next(line for line in output.splitlines() if line.startswith("@@"))
    return msgspec.json.decode(line[2:], type=Load)


def streams(call: Call, *, connections: int, repeats: int, events: int, core: int | None) -> Load:
    """Each connection reads this many streams to their end, one after the other; each must have so many events."""
    command = _client(call, f"--connections={connections}", f"--repeats={repeats}", f"--events={events}")
    return msgspec.json.decode(_output(command, core, dict(os.environ)), type=Load)


def start_burst(call: Call, *, connections: int, core: int | None) -> subprocess.Popen[bytes]:
    """One call on each of many connections, all at once; `finish` reads the outcome."""
    command = _client(call, f"--connections={connections}", "--repeats=1")
    with on_core(core):
        return subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE)


def finish(client: subprocess.Popen[bytes]) -> Load:
    output, _ = client.communicate(timeout=_LIMIT_S)
    return msgspec.json.decode(output, type=Load)


def _client(call: Call, *options: str) -> list[str]:
    where = [str(call.port), call.path, str(call.body_file), f"--key={call.key}"]
    return [sys.executable, "-m", "benchmarks.client", *where, *options]


def _output(command: list[str], core: int | None, env: dict[str, str]) -> str:
    with on_core(core):
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=_LIMIT_S, cwd=_ROOT, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr[-1000:]}")
    return done.stdout
