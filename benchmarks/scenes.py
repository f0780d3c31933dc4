"""What a scene costs a call: resolving it, checking who may use it, choosing its version, rendering its messages.

Each case goes through the scenes' stages of the pipeline, in front of a handler that does nothing; the rounds visit all
cases in turn. A call without a scene is the base. The last case also holds its answer against a schema.
"""

import asyncio
import statistics
from pathlib import Path
from time import process_time
from typing import Annotated

import msgspec
import typer
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from benchmarks.report import machine
from dujiang.chat.pipeline import compose
from dujiang.config.loader import read_document
from dujiang.core.call import Call, Caller, ClaimedUser, ParsedChat, Rights, SceneChoice
from dujiang.core.chat import ChatRequest, Chunk, Message
from dujiang.core.protocols import Handler
from dujiang.core.reply import Reply, WholeReply
from dujiang.scenes.compiled import compile_scenes
from dujiang.scenes.output_stage import check_output
from dujiang.scenes.stage import render

_RESULT = Path(__file__).parent / "results" / "scenes.json"
_USERS = 256
_ANSWER = '{"title": "Weir", "tags": ["river", "Chengdu"], "year": -256, "open": true}'
_DOCUMENT = b"""
scenes:
  support:
    versions:
      - version: 1
        system: "You answer for {{company}}, in {{language}}."
        variables: {company: {default: Example}, language: {default: English, enum: [English, Chinese]}}
  rolled:
    versions: [{version: 1, system: You are brief.}, {version: 2, system: You are very brief.}]
    labels: {production: {"1": 90, "2": 10}}
  everything:
    apps: ["shop-*", bench]
    roles: [user]
    versions:
      - version: 1
        system: "You answer for {{company}}."
        variables: {company: {max_length: 40}}
        parameters: {temperature: 0.2, max_tokens: 300}
        locks: [temperature, top_p]
      - version: 2
        system: "You answer for {{company}}, briefly."
        variables: {company: {max_length: 40}}
        parameters: {temperature: 0.2, max_tokens: 300}
        locks: [temperature, top_p]
    labels: {production: {"1": 90, "2": 10}}
  schema:
    versions:
      - version: 1
        output_schema:
          type: object
          properties:
            title: {type: string, maxLength: 80}
            tags: {type: array, items: {type: string}, maxItems: 5}
            year: {type: integer}
            open: {type: boolean}
          required: [title, tags]
"""
_CASES: dict[str, SceneChoice | None] = {
    "no scene": None,
    "a scene, no variables": SceneChoice("support"),
    "a scene, two variables": SceneChoice("support", variables={"company": "Dujiangyan", "language": "Chinese"}),
    "a rollout of two versions": SceneChoice("rolled"),
    "a rollout, a variable, apps, roles, locks, defaults": SceneChoice("everything", variables={"company": "Weir"}),
    "an output schema": SceneChoice("schema"),
}


class Row(Struct, frozen=True):
    """CPU time of a call, in microseconds; `extra_us` is what it is above a call without a scene, medians of rounds."""

    case: str
    cpu_us: float
    extra_us: float


class Report(Struct):
    name: str
    data: str
    protocol: str
    seeds: list[int]
    machine: dict[str, str]
    rows: list[Row]


def main(
    calls: Annotated[int, typer.Option(help="Of each case in a round.")] = 20_000,
    rounds: Annotated[int, typer.Option(help="How many.")] = 9,
    json: Annotated[Path, typer.Option(help="Where the result goes.")] = _RESULT,
) -> None:
    """Measures what scenes add to a call."""
    figures = asyncio.run(_measured(calls, rounds))
    base = figures["no scene"]
    rows = [
        Row(case, statistics.median(found), statistics.median(us - none for us, none in zip(found, base, strict=True)))
        for case, found in figures.items()
    ]
    protocol = f"{rounds} rounds of {calls} calls a case, interleaved; process CPU time, medians"
    report = Report("scenes", "made up here", protocol, [], machine(), rows)
    _print(report)
    json.parent.mkdir(parents=True, exist_ok=True)
    json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


async def _measured(calls: int, rounds: int) -> dict[str, list[float]]:
    """Microseconds a call, of each case in each round."""
    scenes = compile_scenes(read_document(_DOCUMENT).scenes)
    handler = compose((render(scenes), check_output(scenes)), _answer)
    figures: dict[str, list[float]] = {case: [] for case in _CASES}
    for _ in range(rounds):
        for case, choice in _CASES.items():
            figures[case].append(await _round(handler, _calls(choice), calls) * 1e6)
    return figures


async def _answer(_: Call) -> Reply:
    return WholeReply(Chunk(_ANSWER, "stop"))


def _calls(choice: SceneChoice | None) -> list[Call]:
    """One of each of several users, because a user always gets the same version of a rollout."""
    request = ChatRequest("m", [Message("user", "How old is the weir?")])
    made: list[Call] = []
    for n in range(_USERS):
        parsed = ParsedChat(request, ClaimedUser(f"user-{n}"), choice)
        call = Call("id", "chat", lambda _, parsed=parsed: parsed, Caller("k", "bench", ("user",)), 0.0, 9.0, 1)
        call.parsed = parsed
        call.rights = Rights(frozenset(), roles=(frozenset({"user"}),))
        made.append(call)
    return made


async def _round(handler: Handler, made: list[Call], calls: int) -> float:
    """CPU seconds a call."""
    started = process_time()
    for n in range(calls):
        call = made[n % _USERS]
        call.request = call.parsed.request
        reply = await handler(call)
        reply.close()
    return (process_time() - started) / calls


def _print(report: Report) -> None:
    table = Table("case", "CPU µs/call", "above no scene")
    for row in report.rows:
        table.add_row(row.case, f"{row.cpu_us:.2f}", f"{row.extra_us:.2f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
