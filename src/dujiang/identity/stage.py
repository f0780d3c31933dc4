"""The two gates of the pipeline: may this caller use this route, and may it ask for this?

Both are plain functions that return the next handler's awaitable: a gate waits for nothing, so it needs no coroutine.
"""

from collections.abc import Awaitable, Mapping
from types import MappingProxyType

from msgspec.structs import replace

from dujiang.core.call import Call, Caller, Rights
from dujiang.core.chat import ChatRequest
from dujiang.core.errors import Forbidden, InvalidRequest
from dujiang.core.protocols import Handler, Stage
from dujiang.core.reply import Reply
from dujiang.identity.roles import RightsTable
from dujiang.identity.users import User, Users, require_unblocked

_NO_ALIASES: Mapping[str, str] = MappingProxyType({})


def admit(table: RightsTable, permission: str, users: Users | None = None) -> Stage:
    """Sets `call.rights`. Raises `Forbidden` without `permission`, for an undefined claimed role, a foreign user, and a
    user who is blocked or does not have the claimed role.
    """

    def stage(handler: Handler) -> Handler:
        def admitted(call: Call) -> Awaitable[Reply]:
            caller = call.caller
            user = call.parsed.user
            known = None
            if users is not None and users.known and user.user_id is not None:
                known = users.find(caller.app, user.user_id)
            if known is None:
                rights = table.rights(caller, user.user_role, permission)
            else:
                rights = _rights_of(known, table, caller, user.user_role, permission)
            call.rights = rights
            if permission not in rights.permissions:
                raise _lacks(permission)
            if not caller.act_as_user and user.user_id is not None:
                raise Forbidden(
                    "This key may not act for a user: leave user_id out.", reason="user", param="user_info.user_id"
                )
            return handler(call)

        return admitted

    return stage


def _rights_of(user: User, table: RightsTable, caller: Caller, claimed_role: str | None, permission: str) -> Rights:
    """The rights of a call for a user of whom something is said."""
    require_unblocked(user, claimed_role)
    if user.roles and claimed_role is None:
        return table.rights_within(caller, user.roles, permission)
    return table.rights(caller, claimed_role, permission)


def authorise(aliases: Mapping[str, str] = _NO_ALIASES) -> Stage:
    """Judges the rendered request, so that a scene's own model and parameters are held to the same rights.

    Allow-lists hold models and routes; an alias counts as its target. Raises `Forbidden` for a model, and
    `InvalidRequest` when the caller asks for more tokens than its roles allow.
    """

    def stage(handler: Handler) -> Handler:
        def authorised(call: Call) -> Awaitable[Reply]:
            rights = call.rights
            if rights.models:
                model = call.request.model
                if not rights.allows_model(aliases.get(model, model)):
                    raise _no_model(model)
            if rights.max_tokens is not None:
                call.request = _within(call.parsed.request, call.request, rights.max_tokens)
            return handler(call)

        return authorised

    return stage


def _within(asked: ChatRequest, rendered: ChatRequest, limit: int) -> ChatRequest:
    """What the caller asked for must fit; what a scene set, or nobody, becomes the limit."""
    asked_tokens = _max_tokens(asked)
    if asked_tokens is not None and asked_tokens > limit:
        raise InvalidRequest(
            f"max_tokens is {asked_tokens}, and the roles of this call allow {limit}: ask for at most {limit}.",
            reason="max_tokens",
            param="parameters.max_tokens",
        )
    tokens = _max_tokens(rendered)
    if tokens is not None and tokens <= limit:
        return rendered
    return replace(rendered, max_tokens=limit, max_completion_tokens=None)


def _max_tokens(request: ChatRequest) -> int | None:
    """The larger of the two names of the same limit, because a provider may heed either."""
    if request.max_tokens is None or request.max_completion_tokens is None:
        return request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    return max(request.max_tokens, request.max_completion_tokens)


def _lacks(permission: str) -> Forbidden:
    return Forbidden(
        f"This call needs the permission `{permission}`, which its roles do not give.", reason="permission"
    )


def _no_model(name: str) -> Forbidden:
    return Forbidden(
        f"The key, its roles or its app do not allow the model `{name[:100]}`.", reason="model", param="model"
    )
