"""`dujiang keys`: API keys from a shell, straight on the database."""

import json
from enum import StrEnum
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from dujiang.cli.database import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, opened
from dujiang.config.fields import patched, settings_of
from dujiang.identity.key import shown_key
from dujiang.identity.key_fields import KeyFields, NewKey
from dujiang.identity.keys import (
    MAX_OVERLAP_S,
    OPERATOR,
    change_key,
    get_key,
    list_keys,
    make_key,
    revoke_key,
    rotate_key,
)
from dujiang.migrations import prepare

_WIDTH = 1_000  # wider than any row: the terminal may wrap a line, but an id is never cut


class Clearable(StrEnum):
    """What a key may be freed of."""

    LIMITS = "limits"
    BUDGET = "budget"
    EXPIRES_AT = "expires_at"
    ALLOWED_ADDRESSES = "allowed_addresses"


_NOTHING: dict[Clearable, Any] = {
    Clearable.LIMITS: {},
    Clearable.BUDGET: None,
    Clearable.EXPIRES_AT: None,
    Clearable.ALLOWED_ADDRESSES: [],
}

app = typer.Typer(
    name="keys",
    help="API keys. A running server takes a change up within a second.",
    no_args_is_help=True,
)

KeyId = Annotated[str, typer.Argument(help="The id of the key, as `dujiang keys list` shows it.")]
Role = Annotated[list[str] | None, typer.Option(help="A role of the key; may be repeated.", show_default=False)]
Model = Annotated[
    list[str] | None,
    typer.Option(help="A model that the key may ask for, `gpt-*`, or `*`; may be repeated.", show_default=False),
]
Scene = Annotated[
    list[str] | None, typer.Option(help="A scene that the key may use, or `*`; may be repeated.", show_default=False)
]
Rpm = Annotated[int | None, typer.Option(min=1, help="Requests per minute.", show_default=False)]
Tpm = Annotated[int | None, typer.Option(min=1, help="Tokens per minute.", show_default=False)]
Concurrency = Annotated[int | None, typer.Option(min=1, help="Calls at once.", show_default=False)]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="The longest answer, in tokens.", show_default=False)]
BudgetAmount = Annotated[str | None, typer.Option("--budget", help="What may be spent, like `12.50`.")]
Currency = Annotated[str, typer.Option(help="The budget's currency.")]
Per = Annotated[Literal["hour", "day", "week", "month", "total"], typer.Option(help="The budget's window.")]
ExpiresAt = Annotated[
    str | None, typer.Option(help="When it ends, like `2027-01-31T12:00:00Z`; UTC where no zone is named.")
]
ActAsUser = Annotated[
    bool | None,
    typer.Option("--act-as-user/--no-act-as-user", help="Whether calls may name a user.", show_default=False),
]
AllowedAddress = Annotated[
    list[str] | None,
    typer.Option(help="An address or network that calls may come from; may be repeated.", show_default=False),
]


@app.command()
def create(
    app_id: Annotated[str, typer.Option("--app", help="The app that the key belongs to.", show_default=False)],
    role: Annotated[list[str], typer.Option(help="A role of the key; may be repeated.", show_default=False)],
    name: Annotated[str, typer.Option(help="What the key is for.", show_default=False)] = "",
    model: Model = None,
    scene: Scene = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrency: Concurrency = None,
    max_tokens: MaxTokens = None,
    budget: BudgetAmount = None,
    currency: Currency = "CNY",
    per: Per = "month",
    expires_at: ExpiresAt = None,
    act_as_user: ActAsUser = None,
    allowed_address: AllowedAddress = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make a key and print its secret: the only time anybody can see it."""
    limits = _limits(rpm, tpm, concurrency, max_tokens)
    money = _budget(budget, currency, per)
    fields = _given(role, name, model, scene, limits, money, expires_at, act_as_user, allowed_address)
    with opened(database_url, data_dir) as database:
        prepare(database)
        key, secret = make_key(database, settings_of({"app": app_id, **fields}, NewKey, "key"), OPERATOR)
    typer.echo(f"id: {key.id}", err=True)
    print(secret)


@app.command("list")
def list_(
    app_id: Annotated[str | None, typer.Option("--app", help="Those of one app.", show_default=False)] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """List the keys, never their secrets."""
    with opened(database_url, data_dir) as database:
        database.require_schema()
        found = [key for key in list_keys(database) if app_id in {None, key.app}]
    table = Table("id", "prefix", "app", "roles", "name", "created", "expires", "revoked", box=None)
    for key in found:
        moments = (key.created_at, key.expires_at, key.revoked_at)
        times = (moment.strftime("%Y-%m-%d %H:%M") if moment else "" for moment in moments)
        table.add_row(key.id, key.prefix, key.app, " ".join(key.roles), key.name, *times)
    Console(width=_WIDTH, markup=False).print(table)


@app.command()
def show(key_id: KeyId, database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Print all of a key but its secret, as JSON."""
    with opened(database_url, data_dir) as database:
        database.require_schema()
        print(_json(shown_key(get_key(database, key_id))))


@app.command()
def update(
    key_id: KeyId,
    role: Role = None,
    name: Annotated[str | None, typer.Option(help="What the key is for.", show_default=False)] = None,
    model: Model = None,
    scene: Scene = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrency: Concurrency = None,
    max_tokens: MaxTokens = None,
    budget: BudgetAmount = None,
    currency: Currency = "CNY",
    per: Per = "month",
    expires_at: ExpiresAt = None,
    act_as_user: ActAsUser = None,
    allowed_address: AllowedAddress = None,
    clear: Annotated[
        list[Clearable] | None,
        typer.Option(help="What the key shall have no more; may be repeated.", show_default=False),
    ] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Change what is given of a key, and print it as JSON. Options that may be repeated replace the whole list."""
    limits = _limits(rpm, tpm, concurrency, max_tokens)
    money = _budget(budget, currency, per)
    patch = _given(role, name, model, scene, limits, money, expires_at, act_as_user, allowed_address)

    def make(known: dict[str, Any]) -> KeyFields:
        freed = {**known, **{each.value: _NOTHING[each] for each in clear or ()}}
        return patched(freed, patch, KeyFields, "key")

    with opened(database_url, data_dir) as database:
        database.require_schema()
        print(_json(shown_key(change_key(database, key_id, make, OPERATOR))))


@app.command()
def rotate(
    key_id: KeyId,
    overlap_s: Annotated[
        float, typer.Option(min=0, max=MAX_OVERLAP_S, help="Seconds for which the secret before it stays good.")
    ] = 0,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Give a key another secret and print it: the only time anybody can see it."""
    with opened(database_url, data_dir) as database:
        database.require_schema()
        _, secret = rotate_key(database, key_id, overlap_s, OPERATOR)
    print(secret)


@app.command()
def revoke(key_id: KeyId, database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """End a key for good."""
    with opened(database_url, data_dir) as database:
        database.require_schema()
        revoke_key(database, key_id)
    print(f"Revoked {key_id}.")


def _given(
    role: list[str] | None,
    name: str | None,
    model: list[str] | None,
    scene: list[str] | None,
    limits: dict[str, int],
    budget: dict[str, Any] | None,
    expires_at: str | None,
    act_as_user: bool | None,
    allowed_address: list[str] | None,
) -> dict[str, Any]:
    """The fields that options name."""
    fields = {
        "roles": role or None,
        "name": name,
        "models": model or None,
        "scenes": scene or None,
        "limits": limits or None,
        "budget": budget,
        "expires_at": expires_at,
        "act_as_user": act_as_user,
        "allowed_addresses": allowed_address or None,
    }
    return {field: value for field, value in fields.items() if value is not None}


def _limits(rpm: int | None, tpm: int | None, concurrency: int | None, max_tokens: int | None) -> dict[str, int]:
    limits = {"rpm": rpm, "tpm": tpm, "concurrency": concurrency, "max_tokens": max_tokens}
    return {limit: value for limit, value in limits.items() if value is not None}


def _budget(amount: str | None, currency: str, per: str) -> dict[str, Any] | None:
    return None if amount is None else {"amount": amount, "currency": currency, "per": per}


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
