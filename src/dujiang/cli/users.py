"""`dujiang users`: the apps' end users from a shell."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dujiang.cli.database import DEFAULT_DATA_DIR, DatabaseUrl, DataDir, opened
from dujiang.config.fields import patched
from dujiang.identity.keys import OPERATOR
from dujiang.identity.users import User, UserFields, change_user, page_of_users

_WIDTH = 1_000
_PAGE = 1_000

app = typer.Typer(
    name="users",
    help="End users of the apps. A running server takes a change up within a second.",
    no_args_is_help=True,
)

AppId = Annotated[str, typer.Argument(metavar="APP", help="The app whose user it is.")]
UserId = Annotated[str, typer.Argument(metavar="USER", help="The id by which the app names the user.")]


@app.command("list")
def list_(
    app_id: Annotated[str | None, typer.Option("--app", help="Those of one app.", show_default=False)] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """List the users whom calls named, or of whom something was said."""
    table = Table("app", "id", "blocked", "roles", "last seen", box=None)
    after: tuple[str, str] | None = None
    with opened(database_url, data_dir) as database:
        database.require_schema()
        while page := page_of_users(database, app_id, after, _PAGE):
            for user in page:
                seen = user.last_seen_at.strftime("%Y-%m-%d %H:%M") if user.last_seen_at else ""
                table.add_row(user.app, user.id, "blocked" if user.blocked else "", " ".join(user.roles), seen)
            after = (page[-1].app, page[-1].id)
    Console(width=_WIDTH, markup=False).print(table)


@app.command()
def block(
    app_id: AppId, user_id: UserId, database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR
) -> None:
    """Refuse the calls that name a user."""
    _change(database_url, data_dir, app_id, user_id, {"blocked": True})
    print(f"Blocked {app_id}/{user_id}.")


@app.command()
def unblock(
    app_id: AppId, user_id: UserId, database_url: DatabaseUrl = None, data_dir: DataDir = DEFAULT_DATA_DIR
) -> None:
    """Let a user's calls through again."""
    _change(database_url, data_dir, app_id, user_id, {"blocked": False})
    print(f"Unblocked {app_id}/{user_id}.")


def _change(database_url: str | None, data_dir: Any, app_id: str, user_id: str, patch: dict[str, Any]) -> User:
    def make(known: dict[str, Any]) -> UserFields:
        return patched(known, patch, UserFields, "user")

    with opened(database_url, data_dir) as database:
        database.require_schema()
        return change_user(database, app_id, user_id, make, OPERATOR)
