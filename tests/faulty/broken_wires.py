"""Connections that break: before the answer, in its middle, inside a character; answers in single bytes; callers who
read slowly or leave.
"""

import json
import socket
import time
from pathlib import Path

from gateway import eventually
from msgspec import Struct

from faulty.row import Row, at_most, exactly
from faulty.traffic import Callers, Heard, calling, quantile, question, share
from faulty.upstreams import Scene, scene


class Resets(Struct, frozen=True):
    control: float
    """The part of the same calls that was answered well before anything broke."""
    before_headers: float
    """The part of calls that was answered well although one of two targets resets them before its headers …"""
    after_headers: float
    """… or after them, before the first token."""
    amplification: float
    cut_marked: float
    """Of streams that break after the first token, those that end with an error event …"""
    cut_recorded: float
    """… and are recorded as `cut`."""
    calls_upstream_per_cut: float


def resets(data_dir: Path, seconds: float) -> Resets:
    models = {"early": ("a", "ok"), "late": ("b", "ok"), "cut": ("c",)}
    behaviours = {"a": "ok", "b": "ok", "c": "ok", "ok": "ok"}
    patient = {"cut": {"breaker": {"window": 100_000, "min_calls": 100_000}}}
    with scene(data_dir, behaviours, models=models, of_models=patient) as played:

        async def load(callers: Callers):
            early = await callers.at_rate(question("early"), 50, seconds / 6)
            late = await callers.at_rate(question("late", stream=True), 50, seconds / 6)
            return early, late, await callers.at_rate(question("cut", stream=True), 50, seconds / 6)

        control = [call for each in calling(played.port, load) for call in each]
        before, cut_before = played.attempts("a", "b", "ok"), played.attempts("c")
        played.behave(a="reset_before_headers", b="reset_after_headers", c="chunks=8;cut_after=3")
        early, late, cut = calling(played.port, load)
        upstream = played.attempts("a", "b", "ok") - before
        return Resets(
            share(control),
            share(early),
            share(late),
            upstream / len(early + late),
            sum(call.is_cut for call in cut) / len(cut),
            _ended(played, "cut") / len(cut),
            (played.attempts("c") - cut_before) / len(cut),
        )


class HalfCharacters(Struct, frozen=True):
    answers_that_are_no_text: int
    marked: float
    """The part of all streams that says that it is not whole."""
    bugs: int
    """Calls that ended as an error of the gateway's own."""


def half_characters(data_dir: Path, seconds: float) -> HalfCharacters:
    models = {"utf8": ("a",), "json": ("b",)}
    tolerant = {"breaker": {"window": 100_000, "min_calls": 100_000}, "retry": {"max_attempts": 1}}
    with scene(data_dir, {"a": "cut_mid_utf8", "b": "cut_mid_json"}, tolerant, models=models) as played:

        async def load(callers: Callers):
            heard = [await callers.at_rate(question(name, stream=True), 50, seconds / 2) for name in models]
            return [call for each in heard for call in each]

        heard = calling(played.port, load)
    return HalfCharacters(
        sum(not _is_text(call.body) for call in heard),
        sum(not call.is_good for call in heard) / len(heard),
        sum(call.status == 500 or b'"internal_error"' in call.body for call in heard),
    )


class SingleBytes(Struct, frozen=True):
    same_text: float
    """The part of all streams that says the same whether it came in single bytes or not."""
    slow_reader_kib: float
    """Memory that a stream takes whose caller does not read …"""
    slow_reader_grows_kib: float
    """… and by how much that grows in the next two seconds."""
    others_p99_ms: float
    """What other calls took meanwhile."""


_SLOW_READERS = 10


def single_bytes(data_dir: Path, seconds: float) -> SingleBytes:
    del seconds
    models = {"drops": ("a",), "whole": ("b",), "endless": ("c",)}
    with scene(data_dir, {"a": "ok", "b": "ok", "c": "chunks=100000"}, models=models) as played:

        async def texts(callers: Callers):
            return await callers.at_once(question("drops", stream=True), 50)

        whole = calling(played.port, texts)
        played.behave(a="drip_1_byte")
        drops = calling(played.port, texts)
        calling(played.port, lambda callers: callers.at_rate(question("whole"), 50, 2))
        peers = [socket.create_connection(("127.0.0.1", played.port)) for _ in range(_SLOW_READERS)]
        before = played.worker.memory_info().rss
        try:
            for peer in peers:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                peer.sendall(question("endless", stream=True))
            eventually(lambda: played.emulator.counters.model("c").open_streams == _SLOW_READERS, 60)
            time.sleep(2)
            grown = played.worker.memory_info().rss
            others = calling(played.port, lambda callers: callers.at_rate(question("whole"), 50, 2))
            later = played.worker.memory_info().rss
        finally:
            for peer in peers:
                peer.close()
    said = {_said(call) for call in whole}
    return SingleBytes(
        sum({_said(call)} == said for call in drops) / len(drops),
        (grown - before) / _SLOW_READERS / 1024,
        (later - grown) / _SLOW_READERS / 1024,
        quantile((call.took_ms for call in others), 99),
    )


class Leaving(Struct, frozen=True):
    closed_p99_ms: float
    """From a caller's leaving until its call upstream is over."""
    stuck: int
    records_per_call: float
    cancelled: float
    """The part of those calls that is recorded as `cancelled`."""


_LEAVING = {
    "during a whole answer": ("latency=60000", False),
    "before the first token": ("ttft=60000", True),
    "mid-stream": ("chunks=1000;chunk_interval=50", True),
}
_LEAVE = 20


def leaving(data_dir: Path, seconds: float) -> Leaving:
    """One after another, so that each is timed; the case of many at once is `vanishing`."""
    del seconds
    closed_ms: list[float] = []
    with scene(data_dir, {"a": "ok"}) as played:
        tally = played.emulator.counters.model("a")
        for behaviour, is_streamed in _LEAVING.values():
            played.behave(a=behaviour)
            for _ in range(_LEAVE):
                peer = socket.create_connection(("127.0.0.1", played.port))
                peer.sendall(question(stream=is_streamed))
                eventually(lambda: played.in_flight("a") == 1)
                if "chunks" in behaviour:
                    peer.recv(100)
                disconnected, left_s = tally.disconnected, time.monotonic()
                peer.close()
                while tally.disconnected == disconnected and time.monotonic() - left_s < 5:
                    time.sleep(0.001)
                closed_ms.append((time.monotonic() - left_s) * 1000)
        eventually(lambda: played.metric("dujiang_calls_in_flight") == 0)
        calls = len(closed_ms)
        return Leaving(
            quantile(closed_ms, 99),
            played.in_flight("a"),
            played.metric("dujiang_records_appended_total") / calls,
            _ended(played, "cancelled") / calls,
        )


class Vanishing(Struct, frozen=True):
    back_to_normal_s: float
    """Until as many tasks and descriptors are open as before."""
    stuck: int


_CROWD = 1000


def vanishing(data_dir: Path, seconds: float) -> Vanishing:
    del seconds
    many = {"concurrency": {"limit": 2 * _CROWD}}
    with scene(data_dir, {"a": "chunks=1000;chunk_interval=50"}, many) as played:
        tasks, descriptors = played.metric("dujiang_event_loop_tasks"), played.worker.num_fds()
        peers = [socket.create_connection(("127.0.0.1", played.port)) for _ in range(_CROWD)]
        for peer in peers:
            peer.sendall(question(stream=True))
        eventually(lambda: played.in_flight("a") == _CROWD, 60)
        for peer in peers:
            peer.close()
        left_s = time.monotonic()
        eventually(
            lambda: (
                played.worker.num_fds() <= descriptors + 2
                and not played.in_flight("a")
                and played.metric("dujiang_event_loop_tasks") <= tasks
            ),
            60,
        )
        return Vanishing(time.monotonic() - left_s, played.in_flight("a"))


def _ended(played: Scene, outcome: str) -> float:
    """How many calls ended so."""
    text = played.ask("/metrics").body.decode()
    lines = (line for line in text.splitlines() if line.startswith("dujiang_calls_total{"))
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if f'outcome="{outcome}"' in line)


def _is_text(body: bytes) -> bool:
    try:
        return "\N{REPLACEMENT CHARACTER}" not in body.decode()
    except UnicodeDecodeError:
        return False


def _said(call: Heard) -> str:
    """The text of a stream."""
    events = [line[6:] for line in call.body.decode().split("\n\n") if line.startswith("data: {")]
    return "".join(json.loads(event)["data"].get("delta", "") for event in events)


ROWS = (
    Row(
        "F12",
        "one of two targets resets connections before its headers, after them; streams are cut off",
        "两个目标之一在响应头之前、之后重置连接；流被中途切断",
        resets,
        (
            exactly("before_headers", 1),
            exactly("after_headers", 1),
            at_most("amplification", 1.2),
            exactly("cut_marked", 1),
            exactly("cut_recorded", 1),
            exactly("calls_upstream_per_cut", 1),
        ),
        9,
    ),
    Row(
        "F13",
        "streams end inside a character, or inside JSON",
        "流在字符或 JSON 中间结束",
        half_characters,
        (exactly("answers_that_are_no_text", 0), exactly("marked", 1), exactly("bugs", 0)),
        4,
    ),
    Row(
        "F14",
        f"answers in single bytes; {_SLOW_READERS} callers who do not read",
        f"逐字节到达的回答；{_SLOW_READERS} 个不读取的调用方",
        single_bytes,
        (exactly("same_text", 1), at_most("slow_reader_kib", 4096), at_most("slow_reader_grows_kib", 256)),
    ),
    Row(
        "F15",
        "callers leave during a whole answer, before the first token, mid-stream",
        "调用方在整段回答期间、首个 token 之前、流中途离开",
        leaving,
        (
            at_most("closed_p99_ms", 1000),
            exactly("stuck", 0),
            exactly("records_per_call", 1),
            exactly("cancelled", 1),
        ),
    ),
    Row(
        "F16",
        f"{_CROWD} callers vanish at once",
        f"{_CROWD} 个调用方同时消失",
        vanishing,
        (at_most("back_to_normal_s", 10), exactly("stuck", 0)),
    ),
)
