"""The process that runs a model: `python -m dujiang.providers.embedded.child --model FILE --port PORT`.

It serves OpenAI's chat format on 127.0.0.1, prints `ready` once the model is loaded, and ends when its standard input
does: it never outlives its parent. The only place that imports xllamacpp.
"""

import argparse
import ctypes
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

API_KEY_VARIABLE = "DUJIANG_EMBEDDED_API_KEY"
READY = b"ready\n"
WAITING = 16
"""Requests that may wait for a slot. The engine bounds only its HTTP threads: what is beyond waits unaccepted."""

_MAX_THREADS = 8
_NICENESS = 5
_OOM_SCORE = 500
_READ_TIMEOUT_S = 60
_BATCH_TOKENS = 128
"""Of a long prompt at one go, about 1.5 s on one core. Only between batches does the engine see others, and leavers."""
_PR_SET_PDEATHSIG = 1
_CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")


def main(arguments: list[str]) -> None:
    """Load the model, say so, and serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="dujiang.providers.embedded.child")
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--context", type=int, default=4096, help="tokens of prompt and answer in one request")
    parser.add_argument("--slots", type=int, default=2, help="requests answered at the same time")
    parser.add_argument("--threads", type=int, default=default_threads())
    options = parser.parse_args(arguments)
    api_key = os.environ.pop(API_KEY_VARIABLE, "")
    if not api_key:
        parser.error(f"{API_KEY_VARIABLE} must hold the key that callers present")
    _end_with_parent()
    _yield_to_others()
    import xllamacpp  # pyright: ignore[reportMissingTypeStubs]

    engine: Any = xllamacpp
    try:
        server = engine.Server(_parameters(engine, options, api_key))
    except RuntimeError as error:  # the engine has written its own reason to standard error
        sys.exit(str(error))
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    sys.stdin.buffer.read()
    del server  # it must live until here


def default_threads() -> int:
    """One fewer than the cores this process may use, at least 1, at most 8.

    The threads of a step wait for each other: on 2 cores with one of them busy elsewhere, 2 threads made 0.5 tokens/s
    and 1 thread 28.
    """
    return max(1, min(_usable_cores() - 1, _MAX_THREADS))


def _usable_cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CGROUP_CPU.read_text("ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else min(cores, math.ceil(int(quota) / int(period)))


def _parameters(engine: Any, options: argparse.Namespace, api_key: str) -> Any:
    """The engine's settings: loopback, our key, no page, no endpoints that tell of others' requests, bounded memory."""
    parameters = engine.CommonParams()
    parameters.model.path = str(options.model)
    parameters.model_alias = {options.model.stem}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = options.port
    parameters.api_keys = [api_key]
    parameters.n_parallel = options.slots
    parameters.n_ctx = options.context * options.slots
    parameters.n_batch = parameters.n_ubatch = _BATCH_TOKENS
    parameters.fit_params = False  # it would load the file twice to fit a graphics card
    parameters.cpuparams.n_threads = options.threads
    parameters.n_threads_http = options.slots + WAITING
    parameters.timeout_read = parameters.timeout_write = _READ_TIMEOUT_S
    parameters.cache_ram_mib = 0
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.verbosity = 1  # errors; more would print prompts
    return parameters


def _end_with_parent() -> None:
    """Have Linux end us when the parent goes. While the model loads nobody reads standard input."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _yield_to_others() -> None:
    """Give the gateway the processor first, and the out-of-memory killer this process first."""
    os.nice(_NICENESS)
    if sys.platform == "linux":
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE), "ascii")


if __name__ == "__main__":
    main(sys.argv[1:])
