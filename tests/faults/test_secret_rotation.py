"""A rotation that is killed: every secret is under the old key, or every one under the new."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dujiang.core.binding import Binding
from dujiang.core.secret import Secret
from dujiang.migrations import upgrade
from dujiang.storage.database import connect, sqlite_url
from dujiang.storage.encryption import EncryptionKey, Keychain
from dujiang.storage.secret_key import OLD_VARIABLE, VARIABLE, open_keychain
from dujiang.storage.secrets import SecretStore

OLD, NEW = "the-old-one-9a7e5b2d8064aa01bb23cc", "the-new-one-3c1f9a7e5b2d8064aa01bb"
BINDING = Binding("openai", "https://api.openai.com:443")
COUNT = 40

ROTATE = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from dujiang.storage.database import connect, sqlite_url
from dujiang.storage.secret_key import open_keychain
from dujiang.storage.secrets import SecretStore

folder, moment = Path(sys.argv[1]), sys.argv[2]
updates = 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

@event.listens_for(Engine, "after_cursor_execute")
def count(connection, cursor, statement, *_):
    global updates
    updates += statement.startswith("UPDATE secrets")
    if str(updates) == moment:
        die()

@event.listens_for(Engine, "commit")
def committing(connection):
    if moment == "commit" and updates:
        die()

with connect(sqlite_url(folder)) as database:
    SecretStore(database, open_keychain(folder, os.environ)).rotate()
if moment == "end":
    die()
"""


@pytest.mark.parametrize(
    ("moment", "holds"), [("1", OLD), ("20", OLD), (str(COUNT), OLD), ("commit", OLD), ("end", NEW)]
)
def test_a_killed_rotation_is_whole_or_nothing_and_can_be_run_again(tmp_path: Path, moment: str, holds: str) -> None:
    with connect(sqlite_url(tmp_path)) as database:
        upgrade(database)
        store = SecretStore(database, open_keychain(tmp_path, {VARIABLE: OLD}))
        for n in range(COUNT):
            store.put(f"s{n}", Secret(f"sk-{n}"), BINDING, by="test")
    killed = rotate(tmp_path, moment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert_all_under(tmp_path, holds)
    assert rotate(tmp_path, "never").returncode == 0
    assert_all_under(tmp_path, NEW)


def rotate(folder: Path, moment: str) -> "subprocess.CompletedProcess[bytes]":
    environ = {**os.environ, VARIABLE: NEW, OLD_VARIABLE: OLD}
    return subprocess.run(
        [sys.executable, "-c", ROTATE, str(folder), moment], env=environ, capture_output=True, timeout=60, check=False
    )


def assert_all_under(folder: Path, key: str) -> None:
    with connect(sqlite_url(folder)) as database:
        store = SecretStore(database, Keychain(EncryptionKey(key.encode())))
        assert {each.key_id for each in store.names()} == {EncryptionKey(key.encode()).id}
        assert all(store.reveal(f"s{n}", BINDING).reveal() == f"sk-{n}" for n in range(COUNT))
