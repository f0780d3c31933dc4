"""Secrets on their way out of a document and back into it: `***` put back means unchanged, a literal is sealed."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from msgspec import Struct

from dujiang.config.entries import Tree
from dujiang.config.environment import has_reference, shown
from dujiang.core.secret import MASK, Secret, stored_name


class Place(Struct, frozen=True):
    """Where a secret stands: `provider` and the name of its credential; without a provider, the alerts' secret."""

    provider: str | None
    credential: str


Replace = Callable[[Place, str], str]


def shown_tree(tree: Tree) -> Tree:
    """The tree as anybody may see it: references as they were written, every other secret as `***`."""
    return replaced(tree, lambda _, text: shown(Secret(text)))


def restored(tree: Tree, known: Mapping[Place, str]) -> Tree:
    """The tree with the known secrets that `***` stands for, where the same place has one."""

    def restore(place: Place, text: str) -> str:
        secret = known.get(place)
        return secret if secret is not None and MASK in text and shown(Secret(secret)) == text else text

    return replaced(tree, restore)


def sealed(tree: Tree, seal: Replace) -> Tree:
    """The tree with a reference in the place of every literal secret."""
    return replaced(tree, lambda place, text: seal(place, text) if _is_literal(text) else text)


def secrets_of(tree: Tree) -> Iterator[tuple[Place, str]]:
    """Every secret of a tree that may be unsound."""
    found: list[tuple[Place, str]] = []

    def note(place: Place, text: str) -> str:
        found.append((place, text))
        return text

    replaced(tree, note)
    yield from found


def replaced(tree: Tree, replace: Replace) -> Tree:
    """The tree with other secrets; what keeps its own is shared."""
    result = dict(tree)
    providers = tree.get("providers")
    if isinstance(providers, dict):
        names = cast("Tree", providers)
        made = {name: _of_provider(name, provider, replace) for name, provider in names.items()}
        if any(made[name] is not names[name] for name in made):
            result["providers"] = made
    alerts = tree.get("alerts")
    if isinstance(alerts, dict):
        result["alerts"] = _with_secret(cast("Tree", alerts), Place(None, ""), replace)
    return result


def _of_provider(name: str, provider: Any, replace: Replace) -> Any:
    credentials = cast("Tree", provider).get("credentials") if isinstance(provider, dict) else None
    if not isinstance(credentials, list):
        return cast("object", provider)
    items = cast("list[Any]", credentials)
    made = [_of_credential(name, item, replace) for item in items]
    if all(one is other for one, other in zip(made, items, strict=True)):
        return cast("object", provider)
    return {**cast("Tree", provider), "credentials": made}


def _of_credential(provider: str, item: Any, replace: Replace) -> Any:
    if not isinstance(item, dict):
        return cast("object", item)
    credential = cast("Tree", item)
    return _with_secret(credential, Place(provider, str(credential.get("name", ""))), replace)


def _with_secret(holder: Tree, place: Place, replace: Replace) -> Tree:
    text = holder.get("secret")
    if not isinstance(text, str) or (made := replace(place, text)) == text:
        return holder
    return {**holder, "secret": made}


def _is_literal(text: str) -> bool:
    return bool(text) and stored_name(text) is None and not has_reference(text)
