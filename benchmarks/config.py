"""What a change of the configuration costs: of 10,000 models, of 10,000 scenes, after 10,000 revisions.

A large document takes the way of `PUT /config`: a reader of its own, then the configuring thread, while the event loop
of this process turns a millisecond at a time and tells how late it was. The same loop alone is the control. CPU time is
of all processes for a whole document, of the configuring thread for a change.
"""

import asyncio
import gc
import itertools
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from benchmarks.report import machine
from dujiang.config.apart import Readers
from dujiang.config.author import operator
from dujiang.config.entries import entry_of
from dujiang.config.environment import expand_here
from dujiang.config.history import Change, History
from dujiang.config.opening import open_configuration
from dujiang.config.reader import Task
from dujiang.config.service import Configuration, Vetted
from dujiang.core.collector import uncollected
from dujiang.identity.accounts import Accounts
from dujiang.identity.foresight import Foresight
from dujiang.identity.ledger import Ledger
from dujiang.identity.users import Users
from dujiang.migrations import upgrade
from dujiang.records.journal import Journal
from dujiang.records.settings import RecordSettings
from dujiang.resilience.events import Fleet, Herald
from dujiang.snapshot import Compiler, Snapshot
from dujiang.storage.audit import Deed
from dujiang.storage.database import Database, connect, sqlite_url
from dujiang.storage.memory import MemoryStore
from dujiang.storage.secret_key import make_key_file, open_keychain
from dujiang.storage.secrets import SecretStore
from dujiang.telemetry.metrics import Metrics
from dujiang.worker import GC_THRESHOLDS, SWITCH_S

_RESULT = Path(__file__).parent / "results" / "config.json"
_AUTHOR = operator("benchmark")
_TICK_S = 0.001
_PATCHES = 50

Config = Configuration[Snapshot]
Tree = dict[str, Any]


class Row(Struct, frozen=True):
    """A question and its durations over several askings, in milliseconds."""

    question: str
    times: int
    cpu_p50_ms: float
    wall_p50_ms: float
    wall_max_ms: float


class Lag(Struct, frozen=True):
    """How late the event loop was, in milliseconds."""

    during: str
    turns: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Report(Struct):
    name: str
    data: str
    protocol: str
    seeds: list[int]
    machine: dict[str, str]
    models: int
    scenes: int
    revisions: int
    document_bytes: int
    bytes_per_revision: float
    rows: list[Row]
    lags: list[Lag]


class House:
    """A database and what works on it, in a directory of its own."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="dujiang-config-"))
        make_key_file(self.directory, {})
        self.database: Database = connect(sqlite_url(self.directory))
        upgrade(self.database)
        settings = RecordSettings()
        self._journal = Journal(
            self.directory / "journal",
            limit_bytes=settings.journal_limit_bytes,
            on_full=settings.when_full,
            durability=settings.durability,
            fsync_ms=settings.fsync_ms,
        )

    def configuration(self) -> Config:
        """One that has taken up the newest revision, as a process has after its start."""
        secrets = SecretStore(self.database, open_keychain(self.directory, {}))
        store = MemoryStore()
        compiler = Compiler(
            expand=expand_here,
            reveal=secrets.reveal,
            embedded={},
            metrics=Metrics(),
            journal=self._journal,
            store=store,
            accounts=Accounts(store, Ledger(self.database), Foresight()),
            users=Users(),
            fleet=Fleet(1, Herald("alone", lambda _: None)),
        )
        made: Config = open_configuration(self.database, secrets, compiler, os.environ)
        made.load()
        return made

    def bytes(self) -> int:
        """The database's size with nothing left in its journal."""
        with self.database.read() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.exec_driver_sql("BEGIN")
        return (self.directory / "dujiang.db").stat().st_size

    def close(self) -> None:
        self._journal.close()
        self.database.close()
        shutil.rmtree(self.directory)


class Meter:
    """Collects the rows."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def ask(self, question: str, work: Callable[[], object], times: int = 1) -> None:
        """CPU time of the asking thread."""
        cpu: list[float] = []
        wall: list[float] = []
        for _ in range(times):
            began, began_cpu = time.perf_counter(), time.thread_time()
            work()
            cpu.append((time.thread_time() - began_cpu) * 1000)
            wall.append((time.perf_counter() - began) * 1000)
        self.add(question, cpu, wall)

    def add(self, question: str, cpu_ms: list[float], wall_ms: list[float]) -> None:
        figures = (statistics.median(cpu_ms), statistics.median(wall_ms), max(wall_ms))
        self.rows.append(Row(question, len(wall_ms), *(round(figure, 1) for figure in figures)))


def models_of(count: int) -> Tree:
    """A document whose models have a target, a price and some traits each."""
    price = {"currency": "CNY", "input_per_mtok": 30, "output_per_mtok": 90}
    return {
        "providers": {"openai": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "allow_private_network": True}},
        "models": {
            f"model-{n}": {"targets": [{"provider": "openai", "model": f"vendor-{n}"}], "quality": 0.5, "price": price}
            for n in range(count)
        },
    }


def scenes_of(count: int) -> Tree:
    return {"scenes": {f"scene-{n}": _scene(n, 0) for n in range(count)}}


def _scene(n: int, turn: int) -> Tree:
    text = f"You are assistant {n}, for the {turn}th time. Answer {{{{name}}}} in one short sentence."
    return {"versions": [{"version": 1, "system": text}], "labels": {"production": 1}}


def _change(n: int, scenes: int) -> tuple[Change]:
    """Another text for one of the scenes."""
    return (Change(("scenes", f"scene-{n % scenes}@1"), entry_of(_scene(n % scenes, n + 1)["versions"][0])),)


async def whole_documents(house: House, document: bytes, meter: Meter, times: int) -> list[Lag]:
    """Put a document that differs in every model from the one at work, and put the default one back."""
    loop, readers, configuring = asyncio.get_running_loop(), Readers(), ThreadPoolExecutor(1)
    config = house.configuration()
    default = config.tree(0)
    cpu: list[float] = []
    wall: list[float] = []
    control, busy = Watch(), Watch()
    with control.watching():
        await asyncio.sleep(2)
    for _ in range(times):
        began, began_cpu = time.perf_counter(), _cpu_s()
        with busy.watching():
            tree = await readers.read(Task("check", "json"), document, asyncio.Event().wait)
            vetted = Vetted(tree, config.live.revision)
            work = _judged_and_compiled(config, vetted)
            await loop.run_in_executor(configuring, _undisturbed(work))
        wall.append((time.perf_counter() - began) * 1000)
        cpu.append((_cpu_s() - began_cpu) * 1000)
        with busy.watching():
            put = partial(config.put, vetted, config.live.revision, _AUTHOR)
            await loop.run_in_executor(configuring, _undisturbed(put))
        await loop.run_in_executor(configuring, config.put, default, config.live.revision, _AUTHOR)
    readers.close()
    configuring.shutdown()
    meter.add("read, validate and compile a whole document", cpu, wall)
    return [control.lag("nothing else"), busy.lag("a whole document")]


def _judged_and_compiled(config: Config, given: Vetted) -> Callable[[], object]:
    """What a dry run does, and the compilation of what it judged."""

    def work() -> object:
        proposal = config.judge(given, _AUTHOR)
        return config.compiled(proposal)

    return work


def _undisturbed(work: Callable[[], object]) -> Callable[[], None]:
    """As a runtime lets its configuration work."""

    def undisturbed() -> None:
        with uncollected():
            work()

    return undisturbed


class Watch:
    """An event loop's lag: how much later than a millisecond it comes back."""

    def __init__(self) -> None:
        self._late_ms: list[float] = []

    @contextmanager
    def watching(self) -> Generator[None]:
        task = asyncio.ensure_future(self._watch())
        try:
            yield
        finally:
            task.cancel()

    async def _watch(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(_TICK_S)
            self._late_ms.append((time.perf_counter() - began - _TICK_S) * 1000)

    def lag(self, during: str) -> Lag:
        late = sorted(self._late_ms)
        p50, p99 = late[len(late) // 2], late[int(len(late) * 0.99)]
        return Lag(during, len(late), round(p50, 2), round(p99, 2), round(late[-1], 2))


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def small_changes(house: House, meter: Meter, models: int) -> None:
    """One model among many, changed by one process and followed by another."""
    config, other = house.configuration(), house.configuration()
    numbers = itertools.count()

    def patch() -> None:
        n = next(numbers)
        changed = {"models": {f"model-{n % models}": {"quality": 0.6 + n / 10_000}}}
        config.patch(changed, config.live.revision, _AUTHOR)

    meter.ask("change one model of them", patch, _PATCHES)
    other.follow()
    for _ in range(_PATCHES):
        patch()
        meter.ask("follow", other.follow)
    followed = [row for row in meter.rows if row.question == "follow"]
    meter.rows[:] = [row for row in meter.rows if row.question != "follow"]
    meter.add(
        "follow another process's change of one",
        [row.cpu_p50_ms for row in followed],
        [r.wall_p50_ms for r in followed],
    )


def many_revisions(house: House, meter: Meter, scenes: int, revisions: int) -> float:
    """Bytes per revision. Each changes a version of one scene; they are stored as the service stores them."""
    history = History(house.database)
    config = house.configuration()
    config.put(scenes_of(scenes), config.live.revision, _AUTHOR)
    head, before = history.head(), house.bytes()
    for n in range(revisions):
        history.append(head + n, _change(n, scenes), Deed("benchmark", "put", "config"), "")
    grown = (house.bytes() - before) / revisions
    newest = head + revisions
    meter.ask(
        "store a revision",
        lambda: history.append(history.head(), _change(revisions, scenes), Deed("benchmark", "put", "config"), ""),
        20,
    )
    meter.ask("the document of the newest revision", lambda: history.tree(newest), 5)
    meter.ask("the document of a revision in the middle", lambda: history.tree(head + revisions // 2), 5)
    meter.ask("start: load and compile the newest", house.configuration, 3)
    config.follow()
    meter.ask("what lies between two neighbours", lambda: config.differing(newest - 1, newest), 5)
    meter.ask("what lies between the first and the last", lambda: config.differing(head, newest), 3)
    change = {"scenes": {"scene-1": _scene(1, -1)}}
    meter.ask("change one scene of them", lambda: config.patch(change, config.live.revision, _AUTHOR), 1)
    return grown


def _print(report: Report, console: Console) -> None:
    table = Table("question", "times", "CPU p50 ms", "wall p50 ms", "wall max ms", title="Configuration")
    for row in report.rows:
        figures = (row.cpu_p50_ms, row.wall_p50_ms, row.wall_max_ms)
        table.add_row(row.question, str(row.times), *(f"{figure:,.1f}" for figure in figures))
    console.print(table)
    lags = Table("during", "turns", "p50 ms", "p99 ms", "max ms", title="Lag of the event loop")
    for lag in report.lags:
        lags.add_row(
            lag.during, f"{lag.turns:,}", *(f"{figure:.2f}" for figure in (lag.p50_ms, lag.p99_ms, lag.max_ms))
        )
    console.print(lags)
    console.print(f"{report.bytes_per_revision:,.0f} bytes of the database per revision")


def main(
    models: Annotated[int, typer.Option(help="How many models.")] = 10_000,
    scenes: Annotated[int, typer.Option(help="How many scenes.")] = 10_000,
    revisions: Annotated[int, typer.Option(help="How many revisions.")] = 10_000,
    times: Annotated[int, typer.Option(help="How often the whole document is put.")] = 5,
    json: Annotated[Path, typer.Option(help="Where the result goes.")] = _RESULT,
) -> None:
    """Measures whole documents, small changes of large ones, and long histories."""
    console, meter = Console(), Meter()
    document = msgspec.json.encode(models_of(models))
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)
    house, other = House(), House()
    try:
        lags = asyncio.run(whole_documents(house, document, meter, times))
        small_changes(_with(house, models_of(models)), meter, models)
        grown = many_revisions(other, meter, scenes, revisions)
    finally:
        house.close()
        other.close()
    protocol = (__doc__ or "").split("\n")[0]
    report = Report(
        "config", "made up", protocol, [], machine(), models, scenes, revisions, len(document), grown, meter.rows, lags
    )
    _print(report, console)
    json.parent.mkdir(parents=True, exist_ok=True)
    json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def _with(house: House, document: Tree) -> House:
    config = house.configuration()
    config.put(document, config.live.revision, _AUTHOR)
    return house


if __name__ == "__main__":
    typer.run(main)
