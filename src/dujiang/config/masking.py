"""Showing a document without its secrets."""

from typing import Any

import msgspec

from dujiang.config.environment import shown
from dujiang.config.settings import Document
from dujiang.core.secret import Secret


def masked(document: Document) -> dict[str, Any]:
    """The document as plain values that can be printed.

    References stand as they were written, every other secret is `***`, and what has its default value may be left out.
    """
    tree = msgspec.to_builtins(document, enc_hook=_mask)
    tree.pop("declared", None)
    return tree


def _mask(value: Any) -> str:
    if isinstance(value, Secret):
        return shown(value)
    raise NotImplementedError(f"{type(value).__name__} has no printed form")
