"""Who writes a configuration, and which of its sections they may write."""

from msgspec import Struct

from dujiang.config.checked import Checked
from dujiang.core.call import Caller, Rights
from dujiang.core.errors import Forbidden
from dujiang.identity.permissions import PERMISSIONS

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

    Without a `caller` it is the operator, who holds the machine: the file that the server was started with, and its
    command line.
    """

    name: str
    rights: Rights
    caller: Caller | None = None

    @property
    def is_operator(self) -> bool:
        return self.caller is None

    @property
    def is_unlimited(self) -> bool:
        """Whether they hold `*`."""
        return self.rights.permissions == PERMISSIONS and not self.rights.models and not self.rights.scenes


def operator(name: str) -> Author:
    """The one who started the server, or uses its command line."""
    return Author(name, Rights(PERMISSIONS))


def permission_of(section: str) -> str:
    return _OWN_PERMISSION.get(section, "config:write")


def require_sections(author: Author, before: Checked, after: Checked) -> None:
    """Raises `Forbidden` for a changed section that the author may not write."""
    for section in sorted({*before.tree, *after.tree}):
        if before.tree.get(section) is not after.tree.get(section):
            wanted = permission_of(section)
            if wanted not in author.rights.permissions:
                raise Forbidden(f"A change of `{section}` needs the permission `{wanted}`.", reason="permission")
