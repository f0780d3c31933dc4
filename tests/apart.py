"""Models that share nothing, so that what a vendor refuses in one test is not held against the next.

A refused credential and an account without money are parked, for all models of their provider; a 429 leaves its target
alone for a while.
"""

from collections.abc import Mapping
from typing import Any

ASKED_ONCE = {"retry": {"max_attempts": 1}, "breaker": {"window": 100_000, "min_calls": 100_000}}
"""The `resilience` of tests that tell what one attempt ends with, however many have failed before it."""


def service(base_url: str, kind: str = "openai", secret: str = "sk-emulated") -> dict[str, Any]:
    """A provider on this machine, with one credential."""
    credentials = [{"name": "main", "secret": secret}]
    return {"kind": kind, "base_url": base_url, "allow_private_network": True, "credentials": credentials}


def apart(models: Mapping[str, str], provider: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The `providers` and `models` of a document: each model at a provider of its own, by its own name; the values are
    their names at the vendor.
    """
    return {
        "providers": dict.fromkeys(models, provider),
        "models": {name: {"targets": [{"provider": name, "model": target}]} for name, target in models.items()},
    }
