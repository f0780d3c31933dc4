"""Records as the API shows them: the rows of a day's file become the contract's objects."""

from base64 import b64encode
from typing import Any

import msgspec

from dujiang.records.moments import id_text, iso
from dujiang.records.tables import attempts, calls

CALL = tuple(column.name for column in calls.columns)
ATTEMPT = tuple(column.name for column in attempts.columns)

Item = dict[str, Any]
Items = list[Item]

_PLAIN = ("app", "key_id", "user_id", "user_role", "endpoint", "scene", "scene_version", "model_requested")
_LATER = ("status", "http_status", "error_type", "finish_reason")
_MEASURED = ("cached", "attempts", "first_token_ms", "total_ms", "overhead_ms", "queue_ms", "config_revision")
_DETAIL = ("error_text", "served", "credential", "price_version", "parent_id", "client_retries", "request_bytes")
_BUCKETS = ("input_uncached", "cache_read", "cache_write", "output_visible", "reasoning")


def item_of(row: tuple[Any, ...]) -> Item:
    """A row of `calls` as an item of the list. What is not known is None."""
    call = dict(zip(CALL, row, strict=True))
    return {
        "id": id_text(call["id"]),
        "request_id": call["request_id"],
        "started_at": iso(call["started_at_ms"]),
        **{name: call[name] for name in _PLAIN},
        "model": call["model"] or None,
        "provider": call["provider"] or None,
        "target": call["target"] or None,
        "stream": bool(call["stream"]),
        **{name: call[name] for name in _LATER},
        "usage": _usage(call),
        "cost": money(call["cost_micros"], call["currency"]),
        **{name: call[name] for name in _MEASURED},
        "routing": None if call["routing"] is None else b64encode(call["routing"]).decode(),
    }


def detailed_item_of(row: tuple[Any, ...], tries: list[tuple[Any, ...]], said: tuple[str, str] | None) -> Item:
    """A row of `calls` with all that is known about it; `content` is None where nothing is kept or may be shown."""
    call = dict(zip(CALL, row, strict=True))
    item = item_of(row) | {name: call[name] for name in _DETAIL}
    if item["usage"]:
        item["usage"] |= {name: call[name] for name in _BUCKETS}
    item["attempts_detail"] = [_attempt(dict(zip(ATTEMPT, each, strict=True)), call["currency"]) for each in tries]
    rate = call["exchange_rate"]
    item["exchange"] = None if rate is None else {"currency": call["account_currency"], "rate": rate}
    item["content"] = None if said is None else {"messages": _json(said[0]), "result": said[1]}
    return item


def money(micros: int | None, currency: str | None) -> dict[str, Any] | None:
    return None if micros is None else {"amount": micros / 1_000_000, "currency": currency}


def _usage(call: dict[str, Any]) -> dict[str, Any] | None:
    if call["usage_source"] is None:
        return None
    prompt = call["input_uncached"] + call["cache_read"] + call["cache_write"]
    completion = call["output_visible"] + call["reasoning"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "cached_tokens": call["cache_read"],
        "reasoning_tokens": call["reasoning"],
        "source": call["usage_source"],
    }


def _attempt(attempt: dict[str, Any], currency: str | None) -> dict[str, Any]:
    why, _, chosen_by = attempt["why"].partition(" ")
    return {
        "provider": attempt["provider"],
        "target": attempt["target"],
        "credential": attempt["credential"],
        "status": "error" if attempt["error_type"] else "ok",
        "error_type": attempt["error_type"],
        "waited_ms": attempt["waited_ms"],
        "first_token_ms": attempt["first_token_ms"],
        "total_ms": attempt["total_ms"],
        "why": why,
        "chosen_by": chosen_by or None,
        "cost": money(attempt["cost_micros"], currency),
    }


def _json(text: str) -> Any:
    """What was kept as JSON; a text that is none, since masking cut into it, is shown as it is."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
