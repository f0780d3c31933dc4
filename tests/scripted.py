"""A document whose models each behave in one way, so that a script of calls is a list of names."""

import json
from typing import Any

BEHAVIOURS = {
    "prompt": "ok",
    "slow": "latency=30",
    "streaming": "chunks=6;chunk_interval=5",
    "late": "ttft=40;chunks=3",
    "silent": "usage_missing",
    "tool": "ok_tools",
    "cut": "chunks=8;cut_after=3",
    "garbled": "garbage",
    "reset": "reset_before_headers",
    "broken": "reset_after_headers",
    "failing": "error_in_stream",
    "throttled": "status=429;retry_after=1",
    "unwell": "status=503",
    "rejected": "status=400",
    "hanging": "hang",
}
UNPRICED = {"tool", "slow"}
_PRICE = {"currency": "CNY", "input_per_mtok": 30, "output_per_mtok": 90}


def document(**sections: Any) -> str:
    """The document; `sections` are added to it."""
    return json.dumps(
        {
            "providers": {
                "openai": {
                    "kind": "openai",
                    "base_url": "${OPENAI_BASE_URL}",
                    "allow_private_network": True,
                    "credentials": [{"name": "main", "secret": "${OPENAI_API_KEY}"}],
                }
            },
            "models": {
                name: {
                    "targets": [{"provider": "openai", "model": behaviour}],
                    "resilience": {"timeouts": {"total_s": 0.4, "first_token_s": 0.3, "idle_s": 0.3}},
                    **({} if name in UNPRICED else {"price": _PRICE}),
                }
                for name, behaviour in BEHAVIOURS.items()
            },
            "resilience": {
                "retry": {"max_attempts": 1},
                "breaker": {"window": 100_000, "min_calls": 100_000},
            },
            "roles": {"admin": {"permissions": ["*"]}, "guest": {"permissions": ["chat:call"], "models": ["slow"]}},
            **sections,
        }
    )


def patient_document() -> str:
    """The document without its short clocks, for what measures something else on a machine that may be busy."""
    return document(
        models={
            name: {"targets": [{"provider": "openai", "model": behaviour}], "price": _PRICE}
            for name, behaviour in BEHAVIOURS.items()
        }
    )


def environ(url: str) -> dict[str, str]:
    """Where the emulator is, for the document."""
    return {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "sk-emulated"}
