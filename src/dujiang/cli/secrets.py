"""`dujiang secrets`: the encrypted secrets that documents name, straight on the database."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dujiang.cli.database import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, opened
from dujiang.config.stored import ALERTS
from dujiang.core.binding import Binding
from dujiang.core.errors import InvalidRequest
from dujiang.core.secret import Secret
from dujiang.migrations import prepare
from dujiang.providers.address import check_base_url
from dujiang.providers.binding import binding_of
from dujiang.providers.ernie.credentials import WrongCredential, read_credential
from dujiang.providers.settings import KINDS
from dujiang.storage.secret_key import make_key_file, open_keychain
from dujiang.storage.secrets import MAX_VALUE_CHARACTERS, SecretStore

_AUTHOR = "shell"
_KINDS = KINDS - {"local"} | {ALERTS}
_WIDTH = 1_000  # wider than any row: the terminal may wrap a line, but a name is never cut

app = typer.Typer(
    name="secrets",
    help="Encrypted secrets, which a document names as `secret:NAME`. A running server takes a change up in a second.",
    no_args_is_help=True,
)

SecretName = Annotated[str, typer.Argument(metavar="NAME", help="The name in `secret:NAME`.")]
Kind = Annotated[str, typer.Option(help="The kind of the provider that it is for, or `alerts`.", show_default=False)]
BaseUrl = Annotated[
    str, typer.Option(help="The provider's `base_url`, if it has one; the alerts' `url`.", show_default=False)
]


@app.command("set")
def set_(
    name: SecretName,
    kind: Kind,
    base_url: BaseUrl = "",
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Store a secret for one kind of provider at one address. Its value is read from a pipe, or asked for unseen."""
    value = _read_value()
    with _stored(database_url, data_dir) as store:
        store.put(name, value, _binding(kind, base_url, value), by=_AUTHOR)
    print(f"Stored {name}.")


@app.command("list")
def list_(database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """List the secrets and whom they are for, never their values."""
    with _stored(database_url, data_dir) as store:
        found = store.names()
    table = Table("name", "kind", "origin", "key id", "created", "by", box=None)
    for each in found:
        created = each.created_at.strftime("%Y-%m-%d %H:%M")
        table.add_row(each.name, each.binding.kind, each.binding.origin, each.key_id, created, each.created_by)
    Console(width=_WIDTH, markup=False).print(table)


@app.command()
def delete(name: SecretName, database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Delete a secret for good."""
    with _stored(database_url, data_dir) as store:
        store.delete(name)
    print(f"Deleted {name}.")


@app.command()
def rotate(database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Encrypt every secret under the present key, while DUJIANG_SECRET_KEY_OLD or the key file still gives the old."""
    with _stored(database_url, data_dir) as store:
        count = store.rotate()
    some = "1 secret" if count == 1 else f"{count} secrets"
    print(f"Encrypted {some} under the present key; the others were already.")


@contextmanager
def _stored(database_url: str | None, data_dir: Path) -> Generator[SecretStore]:
    with opened(database_url, data_dir) as database:
        prepare(database)
        made = make_key_file(data_dir, os.environ)
        if made is not None:
            typer.echo(f"Made {made}, the key of stored secrets: keep a copy apart from the database.", err=True)
        yield SecretStore(database, open_keychain(data_dir, os.environ))


def _read_value() -> Secret:
    if sys.stdin.isatty():
        return Secret(typer.prompt("Value", hide_input=True))
    text = sys.stdin.buffer.read(MAX_VALUE_CHARACTERS + 2).decode("utf-8", "replace")
    return Secret(text.removesuffix("\n").removesuffix("\r"))


def _binding(kind: str, base_url: str, value: Secret) -> Binding:
    """Raises `InvalidRequest` for an address that no provider may have, and for a credential of the wrong kind."""
    if kind not in _KINDS:
        raise InvalidRequest(f"No kind `{kind}` takes secrets. Those that do are {', '.join(sorted(_KINDS))}.")
    try:
        if base_url:
            check_base_url(base_url)
        if kind == "ernie":
            read_credential(value.reveal())
        return binding_of(kind, base_url)
    except WrongCredential as error:
        raise InvalidRequest(str(error)) from None
    except ValueError as error:
        raise InvalidRequest(f"`--base-url` {error}.") from None
