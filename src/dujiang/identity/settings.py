"""The `apps`, `roles`, `limits` and `budgets` of the document. Keys and users are data, not settings."""

from typing import Annotated

from msgspec import Meta

from dujiang.core.settings import Budget, ContentPolicy, Count, Limits, Name, NamePattern, Settings, Text


class LimitSettings(Limits):
    """Limits of a caller; `max_tokens` bounds the answer of one call."""

    max_tokens: Count | None = None


class AppSettings(Settings):
    """An app and what its keys may reach. `unknown_role` stands for claimed roles that the document does not define;
    `content` replaces `records.content` for this app's calls. `weight` is its share of places where calls have to wait.
    """

    description: Text = ""
    models: tuple[NamePattern, ...] = ("*",)
    scenes: tuple[NamePattern, ...] = ("*",)
    limits: LimitSettings = LimitSettings()
    budget: Budget | None = None
    unknown_role: Name | None = None
    content: ContentPolicy | None = None
    weight: Annotated[float, Meta(ge=0.01, le=1000)] = 1


class RoleSettings(Settings):
    """What a role permits (`resource:action`, `resource:*`, `*`), and the models and scenes it is permitted for."""

    permissions: tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...]
    models: tuple[NamePattern, ...] = ("*",)
    scenes: tuple[NamePattern, ...] = ("*",)
    limits: LimitSettings = LimitSettings()


class DefaultLimits(Settings):
    """The limits of a key whose app and which itself has none."""

    default: LimitSettings = LimitSettings()


class BudgetSettings(Budget, kw_only=True):
    """A budget of whom: `app:A`, `key:ID`, `role:R` or `user:A/ID`, each also with `*`."""

    subject: Annotated[
        str,
        Meta(
            max_length=256,
            pattern=r"^((app|key|role):(\*|\w[\w.-]*)|user:(\*|\w[\w.-]*/(\*|\S+)))\Z",
            description="`app:A`, `key:ID`, `role:R`, `user:A/ID`, or one of them with `*`",
        ),
    ]
