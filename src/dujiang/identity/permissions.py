"""What can be permitted: `resource:action`, deny by default. Routes, roles and the documentation take it from here."""

from collections.abc import Iterable

_ACTIONS = {
    "chat": ("call",),
    "schedule": ("call",),
    "feedback": ("write",),
    "records": ("read", "read_own", "content", "export"),
    "config": ("read", "write"),
    "keys": ("read", "write"),
    "apps": ("read", "write"),
    "roles": ("read", "write"),
    "users": ("read", "write"),
    "budgets": ("read", "write"),
    "scenes": ("read", "write"),
    "models": ("read", "write"),
    "cache": ("read", "write"),
    "routing": ("read",),
    "health": ("read",),
    "metrics": ("read",),
}

PERMISSIONS: frozenset[str] = frozenset(
    f"{resource}:{action}" for resource, actions in _ACTIONS.items() for action in actions
)

PLATFORM_ONLY: frozenset[str] = frozenset(
    {
        "config:read",
        "config:write",
        "roles:read",
        "roles:write",
        "models:write",
        "metrics:read",
        "health:read",
    }
)
"""What concerns the whole service and no app's own part of it: only keys of the built-in app `admin` hold these."""


def expand(patterns: Iterable[str]) -> frozenset[str]:
    """The permissions that patterns stand for: a permission itself, `resource:*`, or `*`.

    Raises `ValueError` naming the first pattern that stands for nothing.
    """
    granted: set[str] = set()
    for pattern in patterns:
        meant = _meaning(pattern)
        if not meant:
            raise ValueError(f"There is no permission `{pattern}`.")
        granted |= meant
    return frozenset(granted)


def _meaning(pattern: str) -> frozenset[str]:
    if pattern == "*":
        return PERMISSIONS
    resource, _, action = pattern.partition(":")
    if action == "*":
        return frozenset(f"{resource}:{each}" for each in _ACTIONS.get(resource, ()))
    return PERMISSIONS & {pattern}
