"""Revisions while calls run, each told from all others in several sections at once: a record must tell of one alone.

The number of a revision stands in its scene's text and version, in its model's target, in the tokens that the emulator
counts for that target, and in the price. A call that saw two revisions has two numbers.
"""

import asyncio
import json
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

from callers import NATIVE, Heard, Load, Question, post
from configured import patch
from gateway import Gateway
from ledger import Row, exported, settle
from scripted import document

SCENE = "turning"
MODELS = {"whole": "latency=20", "streamed": "chunks=8;chunk_interval=15"}
_OUTPUT_TOKENS = 7
_PROBE_S = 0.005


@dataclass(frozen=True)
class InScene(Question):
    """A call by the scene that every revision changes."""

    @property
    def request(self) -> bytes:
        parameters = {"prompt": "hello", "prompt_id": SCENE, "stream": self.stream}
        body = {"model": self.model, "parameters": parameters, "request_id": self.request_id}
        return post(NATIVE, json.dumps(body).encode())


TEMPLATES = [InScene("", model, stream=stream) for model in MODELS for stream in (False, True)]


@dataclass
class Outcome:
    """What a time of revisions came to. Latencies of the probe are in milliseconds; `violations` are sentences."""

    revisions: int
    calls: int
    violations: list[str]
    rows: list[Row]
    alone_ms: list[float] = field(default_factory=list[float])
    meanwhile_ms: list[float] = field(default_factory=list[float])


def turning(turn: int) -> dict[str, Any]:
    """The sections of the revision with this number."""
    price = {"currency": "CNY", "input_per_mtok": turn, "output_per_mtok": 0}
    return {
        "scenes": {SCENE: {"versions": [{"version": turn, "system": f"turn {turn}"}]}},
        "models": {
            name: {
                "targets": [{"provider": "openai", "model": _vendor_model(name, turn)}],
                "price": price,
            }
            for name in MODELS
        },
    }


def first_document() -> str:
    made = turning(1)
    models = {**json.loads(document())["models"], **made["models"]}
    return document(models=models, scenes=made["scenes"], records={"content": "full"})


def reloading(gateway: Gateway, *, seconds: float, every_s: float, rate: int = 60, alone_s: float = 0.0) -> Outcome:
    """Make revision after revision under load, from the first document on, and look at what was recorded."""
    load = Load(gateway.port, TEMPLATES, prefix="turn-", seed=5, rate=rate)
    caller = threading.Thread(target=lambda: asyncio.run(load.run(seconds + alone_s)), name="load")
    caller.start()
    with probing(gateway) as alone:
        time.sleep(alone_s)
    turn, end = 1, time.monotonic() + seconds
    with probing(gateway) as meanwhile:
        while time.monotonic() < end:
            due = time.monotonic() + every_s
            turn += 1
            answer = patch(gateway, turning(turn))
            assert (answer.status, answer.json["revision"]) == (200, turn), answer.json
            time.sleep(max(0.0, due - time.monotonic()))
    caller.join()
    settle(gateway)
    rows = [gateway.ask(f"/api/v1/records/{row['id']}").json for row in exported(gateway, "turn-")]
    violations = [*_failures(load.heard), *mixtures(rows), *_missing(load.heard, rows)]
    return Outcome(turn - 1, len(load.heard), violations, rows, alone, meanwhile)


def _failures(heard: Sequence[Heard]) -> Iterator[str]:
    for call in heard:
        if call.status != 200 or not call.is_complete or call.is_cut:
            yield f"{call.request_id} failed: {call.status} {call.error}"


def _missing(heard: Sequence[Heard], rows: Sequence[Row]) -> Iterator[str]:
    known = {row["request_id"] for row in rows}
    yield from (f"{call.request_id} has no record" for call in heard if call.request_id not in known)


def mixtures(rows: Sequence[Row]) -> Iterator[str]:
    """What in records another revision than their own explains."""
    for row in rows:
        turn = row["config_revision"]
        expected = {
            "target": f"openai/{_vendor_model(row['model'], turn)}",
            "scene_version": turn,
            "input tokens": turn,
            "cost": turn * turn / 1_000_000,
            "text": f"turn {turn}",
        }
        found = {
            "target": row["target"],
            "scene_version": row["scene_version"],
            "input tokens": row["usage"]["prompt_tokens"],
            "cost": row["cost"]["amount"],
            "text": row["content"]["messages"][0]["content"],
        }
        for name, value in expected.items():
            if found[name] != value:
                yield f"{row['request_id']} of revision {turn}: {name} is {found[name]}, not {value}"


def _vendor_model(name: str, turn: int) -> str:
    return f"{MODELS[name]};tokens={turn}/{_OUTPUT_TOKENS}"


@contextmanager
def probing(gateway: Gateway) -> Iterator[list[float]]:
    """How long the smallest question takes in the block, asked again and again, in milliseconds."""
    found: list[float] = []
    is_over = threading.Event()

    def probe() -> None:
        connection = HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        while not is_over.wait(_PROBE_S):
            began = time.perf_counter()
            connection.request("GET", "/health/live")
            connection.getresponse().read()
            found.append((time.perf_counter() - began) * 1000)
        connection.close()

    thread = threading.Thread(target=probe, name="probe")
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


def percentiles(durations_ms: Sequence[float]) -> dict[str, float]:
    found = sorted(durations_ms)
    return {
        "p50_ms": round(statistics.median(found), 2),
        "p99_ms": round(found[int(len(found) * 0.99)], 2),
        "max_ms": round(found[-1], 2),
    }
