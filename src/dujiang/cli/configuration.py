"""The configuration for the length of a command."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from dujiang.cli.database import opened
from dujiang.config.opening import compile_nothing, open_configuration
from dujiang.config.service import Configuration
from dujiang.storage.secret_key import open_keychain
from dujiang.storage.secrets import SecretStore


@contextmanager
def configured(database_url: str | None, data_dir: Path) -> Generator[Configuration[None]]:
    """The newest revision, loaded; an `AppError` ends the command as `opened` says."""
    with opened(database_url, data_dir) as database:
        database.require_schema()
        secrets = SecretStore(database, open_keychain(data_dir, os.environ))
        configuration = open_configuration(database, secrets, compile_nothing)
        configuration.load()
        yield configuration
