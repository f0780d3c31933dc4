"""Who writes a configuration, and whether they may write what they wrote: nobody grants more than they hold."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from dujiang.config.checked import Checked
from dujiang.core.call import Names, Rights
from dujiang.core.errors import Forbidden
from dujiang.core.problem import Problem, at
from dujiang.identity.names import compile_models, compile_names, covers, intersection, union
from dujiang.identity.permissions import PERMISSIONS, expand
from dujiang.identity.settings import AppSettings, RoleSettings

_OWN_PERMISSION = {
    "apps": "apps:write",
    "budgets": "budgets:write",
    "cache": "cache:write",
    "models": "models:write",
    "roles": "roles:write",
    "scenes": "scenes:write",
}
"""The permission that a change of a section needs. The others need `config:write`."""


class Author(Struct, frozen=True):
    """Who writes, under the name that revisions keep, and what they hold.

    `is_operator` is whoever holds the machine: the file that the server was started with, and its command line.
    """

    name: str
    rights: Rights
    is_operator: bool = False

    @property
    def is_unlimited(self) -> bool:
        """Whether they hold `*`."""
        return self.rights.permissions == PERMISSIONS and not self.rights.models and not self.rights.scenes


def operator(name: str) -> Author:
    """The one who started the server, or uses its command line."""
    return Author(name, Rights(PERMISSIONS), is_operator=True)


def permission_of(section: str) -> str:
    return _OWN_PERMISSION.get(section, "config:write")


def require_sections(author: Author, before: Checked, after: Checked) -> None:
    """Raises `Forbidden` for a changed section that the author may not write."""
    for section in sorted({*before.tree, *after.tree}):
        if before.tree.get(section) is not after.tree.get(section):
            wanted = permission_of(section)
            if wanted not in author.rights.permissions:
                raise Forbidden(f"A change of `{section}` needs the permission `{wanted}`.", reason="permission")


def require_no_grant(author: Author, before: Checked, after: Checked) -> None:
    """Raises `Forbidden` where a role or an app would give more than it gave before and its author holds."""
    if author.is_unlimited:
        return
    for problem in _grants(author.rights, before, after):
        raise Forbidden(f"`{problem.path}` {problem.message}.", reason="grant", param=problem.path)


def _grants(held: Rights, before: Checked, after: Checked) -> Iterator[Problem]:
    for name, role in _changed(before.document.roles, after.document.roles):
        path, known = at("roles", name), before.document.roles.get(name)
        given = expand(role.permissions) - (expand(known.permissions) if known else frozenset())
        if extra := sorted(given - held.permissions):
            yield Problem(f"{path}.permissions", f"would give `{extra[0]}`, which you do not hold")
        yield from _reach(held, role, known, path)
    for name, app in _changed(before.document.apps, after.document.apps):
        yield from _reach(held, app, before.document.apps.get(name), at("apps", name))


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, part) for name, part in after.items() if before.get(name) is not part)


def _reach(
    held: Rights, now: RoleSettings | AppSettings, before: RoleSettings | AppSettings | None, path: str
) -> Iterator[Problem]:
    """The models, scenes and lengths of answers that would be let through anew."""
    models, scenes = intersection(held.models), intersection(held.scenes)
    known_models = compile_models(before.models) if before else Names()
    known_scenes = compile_names(before.scenes) if before else Names()
    if not covers(union((models, known_models)), compile_models(now.models)):
        yield Problem(f"{path}.models", "would let models through that you may not use")
    if not covers(union((scenes, known_scenes)), compile_names(now.scenes)):
        yield Problem(f"{path}.scenes", "would let scenes through that you may not use")
    is_longer = before is None or _is_longer(now.limits.max_tokens, before.limits.max_tokens)
    if is_longer and _is_longer(now.limits.max_tokens, held.max_tokens):
        yield Problem(f"{path}.limits.max_tokens", "would allow longer answers than you may ask for")


def _is_longer(now: int | None, bound: int | None) -> bool:
    """Whether answers may be longer; None is as long as they like."""
    return bound is not None and (now is None or now > bound)
