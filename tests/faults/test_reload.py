"""Reload under load: no call fails, none sees two revisions, and what a revision was made of goes with it."""

import gc
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway import serving
from reload_rounds import first_document, mixtures, reloading, turning
from scripted import environ

from dujiang.config.author import operator
from dujiang.config.environment import expand
from dujiang.config.opening import Configuration, open_configuration
from dujiang.emulator.server import Emulator
from dujiang.identity.accounts import Accounts
from dujiang.identity.foresight import Foresight
from dujiang.identity.ledger import Ledger
from dujiang.identity.users import Users
from dujiang.migrations import upgrade
from dujiang.providers.openai_compatible import RemoteService
from dujiang.records.journal import Journal
from dujiang.records.settings import RecordSettings
from dujiang.resilience.events import Fleet, Herald
from dujiang.resilience.model import Model
from dujiang.routing.catalog import Catalog
from dujiang.snapshot import Compiler, Snapshot
from dujiang.storage.database import connect, sqlite_url
from dujiang.storage.holds import Holds
from dujiang.storage.memory import MemoryStore
from dujiang.storage.secret_key import make_key_file, open_keychain
from dujiang.storage.secrets import SecretStore
from dujiang.telemetry.metrics import Metrics

REVISIONS = 500
AUTHOR = operator("test")


def test_no_call_fails_and_none_sees_two_revisions(emulator: Emulator, tmp_path: Path) -> None:
    with serving(tmp_path, first_document(), environ=environ(emulator.url)) as gateway:
        outcome = reloading(gateway, seconds=4, every_s=0.2)
        assert outcome.violations == []
        assert outcome.revisions >= 5
        assert outcome.calls > 100
    row = outcome.rows[0]
    assert len(list(mixtures([{**row, "config_revision": row["config_revision"] + 1}]))) == 5


@contextmanager
def configured(directory: Path) -> Iterator[Configuration[Snapshot]]:
    """A configuration as a worker has it, in this process."""
    known = environ("http://127.0.0.1:9")
    make_key_file(directory, {})
    settings = RecordSettings()
    journal = Journal(
        directory / "journal",
        limit_bytes=settings.journal_limit_bytes,
        on_full=settings.when_full,
        durability=settings.durability,
        fsync_ms=settings.fsync_ms,
    )
    with connect(sqlite_url(directory)) as database:
        upgrade(database)
        secrets = SecretStore(database, open_keychain(directory, {}))
        store = MemoryStore()
        compiler = Compiler(
            expand=lambda text: expand(text, known),
            reveal=secrets.reveal,
            embedded={},
            metrics=Metrics(),
            journal=journal,
            store=store,
            accounts=Accounts(store, Ledger(database), Foresight()),
            users=Users(),
            fleet=Fleet(1, Herald("alone", lambda _: None)),
        )
        configuration: Configuration[Snapshot] = open_configuration(database, secrets, compiler, known)
        configuration.load()
        yield configuration
    journal.close()


def test_old_revisions_leave_nothing_behind(tmp_path: Path) -> None:
    """Without a single collection: what a revision was made of is freed the moment the last call lets go of it."""
    with configured(tmp_path) as configuration:
        configuration.put(json.loads(first_document()), configuration.live.revision, AUTHOR)
        configuration.live.snapshot.begin(Holds())
        gc.collect()
        gc.disable()
        try:
            before = census()
            for turn in range(2, REVISIONS + 2):
                moved = {"providers": {"openai": {"base_url": f"http://127.0.0.1:{turn}/v1"}}}
                serving = configuration.live.snapshot
                configuration.patch({**turning(turn), **moved}, configuration.live.revision, AUTHOR)
                configuration.live.snapshot.begin(Holds(), serving)
                del serving
            after = census()
        finally:
            gc.enable()
    assert configuration.live.revision == REVISIONS + 1
    assert after == before


def census() -> Counter[str]:
    kinds = (Snapshot, Catalog, Model, RemoteService)
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds))
