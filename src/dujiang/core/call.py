"""The one object that flows through the pipeline, and the small frozen things that stages leave on it."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from dujiang.core.addresses import Network
from dujiang.core.chat import ChatRequest
from dujiang.core.limits import Permit
from dujiang.core.money import Charge, Cost
from dujiang.core.names import Names
from dujiang.core.settings import Budget, Limits


class Caller(Struct, frozen=True, eq=False):
    """Who holds the key, and what the key itself narrows: made by authentication, never from the body.

    `networks` are where calls may come from, anywhere where there are none. `lineage` has the keys by which this one
    was made, the nearest first, as far as they have limits or a budget: what it uses counts as theirs too.
    """

    key_id: str
    app: str
    roles: tuple[str, ...]
    act_as_user: bool = True
    models: Names = Names(is_all=True)
    scenes: Names = Names(is_all=True)
    limits: Limits = Limits()
    max_tokens: int | None = None
    budget: Budget | None = None
    networks: tuple[Network, ...] = ()
    expires_at: datetime | None = None
    lineage: "tuple[Caller, ...]" = ()

    @property
    def is_bound(self) -> bool:
        """Whether the key may be used but for a time, from some places or for nobody."""
        return self.expires_at is not None or bool(self.networks) or not self.act_as_user


class ClaimedUser(Struct, frozen=True):
    """Who the app says its end user is. A claim: it can only narrow what the key may do."""

    user_id: str | None = None
    user_role: str | None = None
    conversation_id: str | None = None


class SceneChoice(Struct, frozen=True):
    """The scene a call asked for, and the values for its `{{name}}` places. `version` is set once it is resolved."""

    id: str
    version: int | None = None
    label: str | None = None
    variables: dict[str, Any] = {}


Priority = Literal["high", "normal", "low"]
"""Who goes first where calls have to wait."""


class ParsedChat(Struct, frozen=True):
    """What a wire's parser makes of a body. `request_id` is None when the caller gave none."""

    request: ChatRequest
    user: ClaimedUser
    scene: SceneChoice | None = None
    request_id: str | None = None
    timeout_s: float | None = None
    include_usage: bool = False
    priority: Priority = "normal"


class Rights(Struct, frozen=True):
    """What a call may do: the key's rights narrowed by the claimed role's and the app's.

    `roles` has the key's roles, and the claimed one: of each set some role must be among those that a scene is for. A
    key whose role permits everything is not held to its own.
    """

    permissions: frozenset[str]
    models: tuple[Names, ...] = ()
    scenes: tuple[Names, ...] = ()
    max_tokens: int | None = None
    roles: tuple[frozenset[str], ...] = ()

    def allows_model(self, name: str) -> bool:
        return all(name in names for names in self.models)

    def allows_scene(self, name: str) -> bool:
        return all(name in names for names in self.scenes)


class One(Struct, frozen=True):
    """A step of a plan: ask one model."""

    model: str


class Plan(Struct, frozen=True):
    """Which models to ask, in order, and why."""

    steps: tuple[One, ...]
    requested: str
    reason: str


class Attempt(Struct):
    """One try at one target. `why` says why it was made (`first`, `retry`, `fallback`, `repair`, `stale_connection`),
    `chosen_by` by what the target was chosen (`Choice.by`). Times are seconds; `error` is the code of the error that
    ended it.

    `cost` is None where the price, or what was used, is not known.
    """

    provider: str
    target: str
    credential: str
    why: str
    chosen_by: str
    waited_s: float = 0.0
    first_token_s: float | None = None
    total_s: float = 0.0
    error: str | None = None
    cost: Cost | None = None


class Call:
    """One request on its way. Each field has one writer:

    | field | written by |
    | --- | --- |
    | `id kind parse body caller started deadline revision request_bytes client_retries` | the edge |
    | `parsed request request_id` | the parse stage; the scene stage replaces `request` |
    | `rights permit` | admission |
    | `scene model_version` | the scene stage; dispatch |
    | `plan` | routing |
    | `attempts provider model upstream_s waited_s charges` | dispatch |

    `started` and `deadline` are on the monotonic clock in seconds. `waited_s` is how long the call waited for a place,
    for a target to recover, or to be asked again.
    """

    __slots__ = (
        "attempts",
        "body",
        "caller",
        "charges",
        "client_retries",
        "deadline",
        "id",
        "kind",
        "model",
        "model_version",
        "parse",
        "parsed",
        "permit",
        "plan",
        "provider",
        "request",
        "request_bytes",
        "request_id",
        "revision",
        "rights",
        "scene",
        "started",
        "upstream_s",
        "waited_s",
    )

    parsed: ParsedChat
    request: ChatRequest
    rights: Rights
    plan: Plan

    def __init__(
        self,
        id: str,
        kind: str,
        parse: Callable[[bytes], ParsedChat],
        caller: Caller,
        started: float,
        deadline: float,
        revision: int,
    ) -> None:
        self.id = id
        self.kind = kind
        self.parse = parse
        self.body = b""
        self.caller = caller
        self.started = started
        self.deadline = deadline
        self.revision = revision
        self.request_id = id
        self.request_bytes = 0
        self.client_retries = 0
        self.permit: Permit | None = None
        self.scene: SceneChoice | None = None
        self.attempts: list[Attempt] = []
        self.charges: list[Charge] = []
        self.provider = ""
        self.model = ""
        self.model_version = ""
        self.upstream_s = 0.0
        self.waited_s = 0.0
