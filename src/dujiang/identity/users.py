"""End users: who was seen in calls, and what is said of them; apps name them, and only ever narrow by it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Row, insert, or_, select, update

from dujiang.core.errors import Forbidden, NotFound
from dujiang.core.settings import Budget, Name, Settings
from dujiang.identity.key import shown_budget, shown_limits
from dujiang.identity.key_fields import SpendingLimit, plain, read_budget, read_limits
from dujiang.identity.keys import MARK, Writer, judging, refusals_noted
from dujiang.identity.settings import LimitSettings
from dujiang.identity.tables import USER_ID_CHARACTERS, users
from dujiang.storage.audit import Deed, note
from dujiang.storage.database import Database, answering
from dujiang.storage.marks import raise_mark, read_mark


class User(Struct, frozen=True):
    """An app's user. `roles` narrow what calls for this user may do; where there are none, nothing does."""

    app: str
    id: str
    blocked: bool = False
    roles: tuple[str, ...] = ()
    limits: LimitSettings = LimitSettings()
    budget: Budget | None = None
    last_seen_at: datetime | None = None

    @property
    def is_ordinary(self) -> bool:
        """Whether nothing is said of this user."""
        return not self.blocked and not self.roles and self.limits == LimitSettings() and self.budget is None


class UserFields(Settings):
    """What may be said of a user."""

    blocked: bool = False
    roles: tuple[Name, ...] = ()
    limits: LimitSettings = LimitSettings()
    budget: SpendingLimit | None = None


class Users:
    """The users of whom something is said, in memory, as they were at the change mark `mark`. A call looks only at
    `known` where nothing is said of anybody.
    """

    __slots__ = ("known", "mark")

    def __init__(self, known: Iterable[User] = ()) -> None:
        self.known: dict[tuple[str, str], User] = {}
        self.mark = 0
        self.take(known, 0)

    def __iter__(self) -> Iterator[User]:
        return iter(tuple(self.known.values()))

    def find(self, app: str, id: str) -> User | None:
        return self.known.get((app, id))

    def take(self, changed: Iterable[User], mark: int) -> None:
        """Know users as they were at a change mark; what is older than the known is passed over."""
        if mark < self.mark:
            return
        for user in changed:
            if user.is_ordinary:
                self.known.pop((user.app, user.id), None)
            else:
                self.known[user.app, user.id] = user
        self.mark = mark


def changed_users(database: Database, since: int) -> tuple[list[User], int]:
    """The users who changed since a change mark, and the mark of now."""
    with database.read() as connection:
        mark = read_mark(connection, MARK)
        return [_user(row) for row in connection.execute(select(users).where(users.c.mark > since))], mark


def page_of_users(database: Database, app: str | None, after: tuple[str, str] | None, limit: int) -> list[User]:
    """Users of an app, or of all, by app and id, from the one after `after` on."""
    wanted = select(users).order_by(users.c.app, users.c.id).limit(limit)
    if app is not None:
        wanted = wanted.where(users.c.app == app)
    if after is not None:
        later_app, later_id = after
        wanted = wanted.where(or_(users.c.app > later_app, (users.c.app == later_app) & (users.c.id > later_id)))
    with database.read() as connection:
        return [_user(row) for row in connection.execute(wanted)]


def change_user(
    database: Database, app: str, id: str, make: Callable[[dict[str, Any]], UserFields], writer: Writer
) -> User:
    """Say something of a user, who need not have been seen. `make` gets the fields as plain values and gives them anew.

    Raises `NotFound` for another app than the writer's own, and `Unprocessable` for a role that the policy does not
    know.
    """
    if not _is_id(id):
        raise _not_found(id)
    with refusals_noted(database, writer, "change", f"users.{app}/{id}"), database.write() as connection:
        judge = judging(connection, writer)
        if judge.scope not in {None, app}:
            raise _not_found(id)
        before = _find(connection, app, id)
        fields = make(_fields(before or User(app, id)))
        judge.require_roles(fields.roles)
        columns = {
            "blocked": fields.blocked,
            "roles": list(dict.fromkeys(fields.roles)),
            "limits": plain(fields.limits),
            "budget": plain(fields.budget),
            "mark": raise_mark(connection, MARK),
        }
        if before is None:
            connection.execute(insert(users).values(app=app, id=id, **columns))
        else:
            connection.execute(update(users).where(_is(app, id)).values(columns))
        after = _find(connection, app, id) or User(app, id)
        shown = None if before is None else shown_user(before)
        note(connection, Deed(writer.name, "change", f"users.{app}/{id}", before=shown, after=shown_user(after)))
    return after


def note_seen(database: Database, seen: Mapping[tuple[str, str], datetime]) -> None:
    """Keep when users were last seen, those whose ids can be shown. Raises no change mark: it narrows nothing.

    Raises `DatabaseAway`.
    """
    with answering(), database.write() as connection:
        for (app, id), moment in seen.items():
            if not _is_id(id):
                continue
            columns = {"last_seen_at": moment}
            if connection.execute(update(users).where(_is(app, id)).values(columns)).rowcount == 0:
                row = {"app": app, "id": id, **_fields(User(app, id)), "mark": 0, **columns}
                connection.execute(insert(users).values(row))


def require_unblocked(user: User, claimed_role: str | None) -> None:
    """Raises `Forbidden` for a blocked user, and for a claimed role that is none of the user's own."""
    if user.blocked:
        raise Forbidden("This user is blocked.", reason="user_blocked", param="user_info.user_id")
    if claimed_role is not None and user.roles and claimed_role not in user.roles:
        raise Forbidden(
            f"This user does not have the role `{claimed_role[:100]}`.",
            reason="user_role",
            param="user_info.user_role",
        )


def shown_user(user: User) -> dict[str, Any]:
    seen = user.last_seen_at
    return {
        "id": user.id,
        "app": user.app,
        "roles": list(user.roles),
        "blocked": user.blocked,
        "limits": shown_limits(user.limits),
        "budget": shown_budget(user.budget),
        "last_seen_at": None if seen is None else seen.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }


def _fields(user: User) -> dict[str, Any]:
    return {
        "blocked": user.blocked,
        "roles": list(user.roles),
        "limits": plain(user.limits),
        "budget": plain(user.budget),
    }


def _is(app: str, id: str) -> Any:
    return (users.c.app == app) & (users.c.id == id)


def _is_id(id: str) -> bool:
    return 1 <= len(id) <= USER_ID_CHARACTERS and id.isprintable()


def _find(connection: Connection, app: str, id: str) -> User | None:
    row = connection.execute(select(users).where(_is(app, id))).first()
    return None if row is None else _user(row)


def _user(row: Row[Any]) -> User:
    return User(
        app=row.app,
        id=row.id,
        blocked=row.blocked,
        roles=tuple(row.roles),
        limits=read_limits(row.limits),
        budget=read_budget(row.budget),
        last_seen_at=row.last_seen_at,
    )


def _not_found(id: str) -> NotFound:
    return NotFound(f"There is no user `{id[:100]}`.", reason="user_not_found", param="id")
