"""What a call's record costs the event loop: CPU time of its thread, with the record stage and without, and by part.

The handler below the stage answers at once, so that all that differs is the stage: a whole answer, and a stream of 30
chunks that is pulled to its end as the edge does. The journal is a real one, drained by nobody. Parts are differences:
`build and encode` is a record without what was said, for a journal that takes nothing; `content` is what keeping it
adds; `frame` and `append` are measured alone, on the bytes of such a record.
"""

import asyncio
import statistics
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic, thread_time
from typing import Annotated, Any, cast

import msgspec
import typer
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from benchmarks.report import machine
from dujiang.core.call import Attempt, Call, Caller, ClaimedUser, ParsedChat
from dujiang.core.chat import ChatRequest, Chunk, Message, Usage
from dujiang.core.ids import new_id
from dujiang.core.money import Cost, Exchange
from dujiang.core.protocols import Handler
from dujiang.core.reply import Reply, WholeReply
from dujiang.core.settings import ContentPolicy
from dujiang.providers.http import Exchange as HttpExchange
from dujiang.providers.streamed import StreamedReply
from dujiang.records.frames import frame
from dujiang.records.journal import Journal
from dujiang.records.stage import record

_RESULT = Path(__file__).parent / "results" / "record_cost.json"
_CHUNKS = 30
_CALLS = 2_000
_CALLER = Caller("key-1", "shop", ("user",))
_USER = ClaimedUser("u-1", "guest")
_USAGE = Usage(40, 0, 0, 90, 0)
_SYSTEM = "You are a helpful assistant of a museum. Answer in the visitor's language, in at most five sentences."
_QUESTION = "都江堰为什么两千多年来一直有效？What can a modern engineer learn from it? "
_ANSWER = "都江堰由李冰父子主持修建，无坝引水，分水、溢洪、排沙三者合一。It divides one river among many fields. "


class Part(Struct, frozen=True):
    """CPU time of one part for one kind of call, medians over the rounds."""

    answer: str
    content: str
    part: str
    cpu_us: float


class Report(Struct, frozen=True):
    name: str
    protocol: str
    data: str
    machine: dict[str, str]
    rows: list[Part]


class Nowhere(Journal):
    """A journal that takes every record and keeps none."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, fsync_ms=None)
        self.payload = b""

    def append(self, payload: bytes) -> None:
        self.payload = payload


class _Spoken:
    """A stream whose events have all arrived."""

    is_done = True

    def __init__(self) -> None:
        pieces = [Chunk(_ANSWER[:12]) for _ in range(_CHUNKS - 1)]
        self.ready = deque([*pieces, Chunk("", "stop", _USAGE, "gpt-4o-mini-2024-07-18")])

    def take(self, event: bytes) -> None: ...

    def spent(self) -> Usage:
        return _USAGE

    def end(self) -> None: ...

    def release(self) -> None: ...


async def _whole(call: Call) -> Reply:
    _try(call)
    return WholeReply(Chunk(_ANSWER * 3, "stop", _USAGE, "gpt-4o-mini-2024-07-18"))


async def _streamed(call: Call) -> Reply:
    _try(call)
    spoken = _Spoken()
    return StreamedReply(cast(HttpExchange, spoken), spoken, 0.0, 0.0)


def _try(call: Call) -> None:
    call.model, call.provider = "gpt-4o-mini", "openai"
    cost = Cost(180, "CNY", "document@7", Exchange("CNY", "1"))
    call.attempts.append(Attempt("openai", "openai/gpt-4o-mini", "main", "first", "only", 0.0, None, 0.4, None, cost))


def _call(*, is_streamed: bool) -> Call:
    call = Call(new_id(), "chat", _unparsed, _CALLER, monotonic(), 1e9, 7)
    messages = [Message("system", _SYSTEM), Message("user", _QUESTION * 3)]
    call.parsed = ParsedChat(ChatRequest("gpt-4o-mini", messages, is_streamed), _USER)
    call.request = call.parsed.request
    call.request_bytes = 900
    return call


def _unparsed(_: bytes) -> ParsedChat:
    raise NotImplementedError


async def _cpu_us(handler: Handler, *, is_streamed: bool) -> float:
    """CPU microseconds a call, making the call and pulling its answer included."""
    began_s = thread_time()
    for _ in range(_CALLS):
        reply = await handler(_call(is_streamed=is_streamed))
        async for _ in reply:
            pass
        reply.close()
    return (thread_time() - began_s) / _CALLS * 1e6


async def _round(folder: Path, *, is_streamed: bool, content: ContentPolicy) -> dict[str, float]:
    """One measurement of every part, one after the other, so that drift falls on all alike."""
    answer = _streamed if is_streamed else _whole
    nowhere, journal = Nowhere(folder / "nowhere"), Journal(folder / "journal")
    bare, kept = (record(nowhere, policy, {})(answer) for policy in ("none", content))
    without = await _cpu_us(answer, is_streamed=is_streamed)
    build = await _cpu_us(bare, is_streamed=is_streamed) - without
    keeping = await _cpu_us(kept, is_streamed=is_streamed) - without - build if content != "none" else 0.0
    with_record = await _cpu_us(record(journal, content, {})(answer), is_streamed=is_streamed)
    payload = nowhere.payload
    framed = _repeated(lambda: frame(payload))
    appended = _repeated(lambda: journal.append(payload)) - framed
    for each in (nowhere, journal):
        each.close()
    parts = {"build and encode": build, "content": keeping, "frame": framed, "append": appended}
    return {**parts, "record": with_record - without}


def _repeated(act: Callable[[], object]) -> float:
    began_s = thread_time()
    for _ in range(_CALLS):
        act()
    return (thread_time() - began_s) / _CALLS * 1e6


def _measured(rounds: int) -> list[Part]:
    """Medians over rounds that visit every kind of call once."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for _ in range(rounds):
        for is_streamed in (False, True):
            for content in ("none", "masked"):
                with tempfile.TemporaryDirectory(prefix="dujiang-bench-") as folder:
                    parts = asyncio.run(_round(Path(folder), is_streamed=is_streamed, content=content))
                kind = (f"stream of {_CHUNKS}" if is_streamed else "whole", "kept" if content != "none" else "none")
                for part, cpu_us in parts.items():
                    found.setdefault((*kind, part), []).append(cpu_us)
    return [Part(*key, round(statistics.median(figures), 2)) for key, figures in found.items()]


def _print(report: Report, console: Console) -> None:
    kinds = list(dict.fromkeys((row.answer, row.content) for row in report.rows))
    table = Table("CPU µs a call", *(f"{answer}, content {content}" for answer, content in kinds))
    for part in dict.fromkeys(row.part for row in report.rows):
        table.add_row(part, *(f"{row.cpu_us:.2f}" for row in report.rows if row.part == part))
    console.print(table)


def main(
    rounds: Annotated[int, typer.Option(help="Rounds, each measuring every part once.", min=1)] = 15,
    json: Annotated[Path, typer.Option(help="Where the result goes.")] = _RESULT,
) -> None:
    """Measures what a record costs on the event loop's thread; the drain is not counted."""
    protocol = f"{rounds} rounds of {_CALLS} calls of each kind, interleaved, medians"
    report = Report("record_cost", protocol, "one short conversation in two languages", machine(), _measured(rounds))
    _print(report, Console())
    figures: dict[str, Any] = msgspec.to_builtins(report)
    json.parent.mkdir(parents=True, exist_ok=True)
    json.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")


if __name__ == "__main__":
    typer.run(main)
