"""A stream that has to come at some pace is ended where it does not, and no other is."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from apart import ASKED_ONCE, apart, service
from callers import NATIVE, post
from gateway import Gateway, counters, serving

from dujiang.emulator.server import Emulator
from dujiang.providers.paced import WINDOW_S

MODELS = {
    "slow": "chunks=100;chunk_interval=1500",
    "slow-with-comments": "ok_comments;chunks=100;chunk_interval=1500",
    "steady": "chunks=130;chunk_interval=100",
    "unbound": "chunks=9;chunk_interval=1500",
    "reasoning": "ok_reasoning;chunks=100;chunk_interval=100",
}
LONG = "chunks=100000"
"""More than all buffers on its way hold."""

MIN_TOKENS_PER_S = 4


@dataclass
class Streamed:
    """The payloads of a stream, and how long it took."""

    events: list[Any]
    seconds: float


@pytest.fixture(scope="module")
def gateway(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    found = apart(MODELS | {"held-back": LONG}, service(f"{emulator.url}/v1"))
    for name in found["models"].keys() - {"unbound"}:
        pace = 1000 if name == "held-back" else MIN_TOKENS_PER_S
        found["models"][name]["resilience"] = {"timeouts": {"min_tokens_per_s": pace}}
    with serving(tmp_path_factory.mktemp("paced"), json.dumps({"resilience": ASKED_ONCE, **found})) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def streamed(gateway: Gateway) -> dict[str, Streamed]:
    """All of them at once, for each takes a window at least."""

    def ask(model: str) -> Streamed:
        began = time.monotonic()
        events = gateway.chat(model, stream=True).events
        return Streamed(events, time.monotonic() - began)

    with ThreadPoolExecutor(len(MODELS)) as pool:
        return dict(zip(MODELS, pool.map(ask, MODELS), strict=True))


@pytest.mark.parametrize("model", ["slow", "slow-with-comments"])
def test_a_slow_stream_is_ended_by_a_timeout(gateway: Gateway, streamed: dict[str, Streamed], model: str) -> None:
    found = streamed[model]
    error = found.events[-1]["error"]
    assert (error["type"], error["reason"]) == ("upstream_stream_broken", "enough tokens")
    assert 9 < found.seconds < 20
    assert len(found.events) > 5
    [target] = gateway.ask(f"/api/v1/models/{model}").json["target_health"]
    assert (target["state"], target["reason"]) == ("failing", "upstream_stream_broken")


@pytest.mark.parametrize("model", ["steady", "unbound", "reasoning"])
def test_others_end_by_themselves(streamed: dict[str, Streamed], model: str) -> None:
    found = streamed[model]
    assert found.events[-1] == "[DONE]"
    assert found.seconds > 9


def test_a_caller_who_reads_slowly_makes_no_stream_slow(gateway: Gateway, emulator: Emulator) -> None:
    body = json.dumps({"model": "held-back", "parameters": {"prompt": "hi", "stream": True}}).encode()
    with gateway.connect() as peer:
        peer.sendall(post(NATIVE, body, fields=["Connection: close"]))
        time.sleep(WINDOW_S + 2)
        assert counters(emulator, LONG)["in_flight"] == 1
        end = b""
        while b"[DONE]" not in end and (heard := peer.recv(1 << 20)):
            end = (end + heard)[-1000:]
    assert b"[DONE]" in end
