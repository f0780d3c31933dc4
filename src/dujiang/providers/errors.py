"""What a vendor's error means: from status, code, type and text to one of our error classes.

Sources: the vendors' error pages, as of November 2026. Codes are looked up before the status, because a status alone
lies: 429 can mean "no money left", 400 can mean "no money left", 401 can mean "not this model".
"""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from time import time
from types import MappingProxyType
from typing import Any, cast

import msgspec

from dujiang.core.errors import (
    BadCredential,
    ContentFiltered,
    NoSuchDeployment,
    OutOfQuota,
    Rejected,
    Throttled,
    Timeout,
    TooLong,
    Unavailable,
    UpstreamError,
)

Codes = Mapping[tuple[int, str], type[UpstreamError]]
"""A vendor's own codes: by status and code, or by 0 and code where the status does not matter."""

NO_CODES: Codes = MappingProxyType({})

_READ_CHARS = 8_000
_MESSAGE_CHARS = 500
_CODE_CHARS = 100
_RETRY_AFTER_CAP_S = 24 * 3600.0
_OPENAI_TOO_LONG = "maximum context length"
"""Words that clients look for, since OpenAI gives the error no code of its own in every API."""

_BY_CODE: dict[str, type[UpstreamError]] = {
    # OpenAI
    "context_length_exceeded": TooLong,
    "string_above_max_length": TooLong,
    "content_policy_violation": ContentFiltered,
    "content_filter": ContentFiltered,
    "invalid_prompt": ContentFiltered,
    "invalid_api_key": BadCredential,
    "unsupported_country_region_territory": BadCredential,
    "model_not_found": NoSuchDeployment,
    "insufficient_quota": OutOfQuota,
    "credit_balance_exhausted": OutOfQuota,
    "organization_spend_limit_exceeded": OutOfQuota,
    "project_spend_limit_exceeded": OutOfQuota,
    "organization_usage_limit_exceeded": OutOfQuota,
    "rate_limit_exceeded": Throttled,
    "slow_down": Throttled,
    "server_is_overloaded": Unavailable,
    # llama.cpp
    "exceed_context_size_error": TooLong,
    # Azure OpenAI
    "deploymentnotfound": NoSuchDeployment,
    # DashScope
    "arrearage": OutOfQuota,
    "datainspectionfailed": ContentFiltered,
    "data_inspection_failed": ContentFiltered,
    "invalidapikey": BadCredential,
    "modelnotfound": NoSuchDeployment,
    "model.accessdenied": NoSuchDeployment,
    "commoditynotpurchased": OutOfQuota,
    "prepaidbilloverdue": OutOfQuota,
    "postpaidbilloverdue": OutOfQuota,
    "budgetlimitexceeded": OutOfQuota,
    # Moonshot
    "exceeded_current_quota_error": OutOfQuota,
    "engine_overloaded_error": Unavailable,
    "rate_limit_reached_error": Throttled,
    "invalid_authentication_error": BadCredential,
    "incorrect_api_key_error": BadCredential,
    "resource_not_found_error": NoSuchDeployment,
    # Ark
    "invalidendpoint.closedendpoint": NoSuchDeployment,
    "invalidendpointormodel.notfound": NoSuchDeployment,
    "modelnotopen": NoSuchDeployment,
    "inputtextriskdetection": ContentFiltered,
    "inputimageriskdetection": ContentFiltered,
    "outputtextriskdetection": ContentFiltered,
    "sensitivecontentdetected": ContentFiltered,
    "authenticationerror": BadCredential,
    "accountoverdueerror": OutOfQuota,
    "setlimitexceeded": OutOfQuota,
    "quotaexceeded": OutOfQuota,
    "serveroverloaded": Unavailable,
}

_BY_TEXT: tuple[tuple[str, type[UpstreamError]], ...] = (
    ("image input is not supported", Rejected),
    ("maximum context length", TooLong),
    ("request too large for", TooLong),
    ("range of input length", TooLong),
    ("token length too long", TooLong),
    ("exceeded model token limit", TooLong),
    ("rejected as a result of our safety system", ContentFiltered),
    ("insufficient balance", OutOfQuota),
    ("exceeded your current quota", OutOfQuota),
    ("free quota", OutOfQuota),
)

_BY_STATUS: dict[int, type[UpstreamError]] = {
    400: Rejected,
    401: BadCredential,
    402: OutOfQuota,
    403: BadCredential,
    404: NoSuchDeployment,
    405: NoSuchDeployment,
    408: Timeout,
    413: TooLong,
    422: Rejected,
    429: Throttled,
    503: Unavailable,
    504: Timeout,
    529: Unavailable,
}

_SENTENCES: dict[type[UpstreamError], str] = {
    BadCredential: "The model's service refused the gateway's credential; an operator must check it.",
    OutOfQuota: "The gateway's account at the model's service has no quota left; an operator must top it up.",
    NoSuchDeployment: "The model's service does not serve the configured model to this account.",
    Throttled: "The model's service is limiting the rate of calls; try again later.",
    Unavailable: "The model's service is overloaded or down; try again later.",
    Timeout: "The model's service gave up on the call.",
    UpstreamError: "The model's service failed.",
}


class VendorError(msgspec.Struct, frozen=True):
    """The parts of an error body that say what happened. All may be empty."""

    message: str = ""
    type: str = ""
    code: str = ""
    param: str | None = None


def read_error(body: bytes) -> VendorError:
    """Understand any error body: an object, nested or flat, a list of one, a string, HTML, nothing. Never raises."""
    try:
        data: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return VendorError(message=body[:_READ_CHARS].decode("utf-8", "replace").strip())
    if isinstance(data, list):
        data = cast("list[Any]", data)[0] if data else ""
    if isinstance(data, dict):
        data = cast("dict[str, Any]", data).get("error") or cast("Any", data)
    if not isinstance(data, dict):
        return VendorError(message=_text_of(data))
    fields = cast("dict[str, Any]", data)
    param = fields.get("param")
    return VendorError(
        message=_text_of(fields.get("message")),
        type=_text_of(fields.get("type")),
        code=_text_of(fields.get("code")),
        param=param if isinstance(param, str) else None,
    )


def _text_of(value: Any) -> str:
    if not value:
        return ""
    try:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    except (RecursionError, OverflowError):
        return ""
    return text[:_READ_CHARS]


def classify(
    status: int, error: VendorError, *, secret: str, codes: Codes = NO_CODES, retry_after_s: float | None = None
) -> UpstreamError:
    """The error to raise for a vendor's answer; `codes` are that vendor's own.

    Only texts about the caller's own request are passed on, and never with the credential in them; everything else
    becomes a sentence of ours, with the vendor's words kept in `raw`.
    """
    kind = _kind_of(status, error, codes)
    text = _shown(error.message, secret, _MESSAGE_CHARS)
    name = _shown(_name_of(error), secret, _CODE_CHARS)
    if issubclass(kind, Rejected):
        message = text or "The model refused the request."
        if kind is TooLong and _OPENAI_TOO_LONG not in text.lower():
            message = f"This model's {_OPENAI_TOO_LONG} is exceeded: {message}"
        param = _shown(error.param, secret, _CODE_CHARS) if error.param else None
        made = kind(message, reason=name or None, param=param)
    else:
        made = kind(_SENTENCES[kind], reason=name or str(status), retry_after_s=retry_after_s)
    made.raw = _shown(f"{status} {error.type} {error.code} {error.message}", secret, _MESSAGE_CHARS)
    return made


def _name_of(error: VendorError) -> str:
    """The word for what happened: the code, unless it only repeats a number that the type puts into words."""
    return error.type if error.type and (not error.code or error.code.isdigit()) else error.code


def _shown(text: str, secret: str, length: int) -> str:
    """The start of a text, without the credential. It goes first: a cut through it would leave its beginning."""
    return (text.replace(secret, "***") if secret else text)[:length]


def _kind_of(status: int, error: VendorError, codes: Codes) -> type[UpstreamError]:
    own = codes.get((status, error.code)) or codes.get((0, error.code))
    if own is not None:
        return own
    text = error.message.lower()
    for name in (error.code.lower(), error.type.lower()):
        kind = _BY_CODE.get(name)
        if kind is not None and not (kind is Throttled and "request too large" in text):
            return kind
    for words, kind in _BY_TEXT:
        if words in text:
            return kind
    return _BY_STATUS.get(status, UpstreamError)


def retry_after_s(headers: list[tuple[bytes, bytes]]) -> float | None:
    """How long a vendor asks us to wait: `retry-after-ms`, then `retry-after` as seconds, then as an HTTP date.

    Values that are not finite or not positive mean nothing; a day is the most that is passed on.
    """
    fields = dict(headers)
    for name, scale in ((b"retry-after-ms", 0.001), (b"retry-after", 1.0)):
        value = fields.get(name)
        if value is None:
            continue
        wait_s = _seconds(value, scale)
        if wait_s is not None and isfinite(wait_s) and wait_s > 0:
            return min(wait_s, _RETRY_AFTER_CAP_S)
    return None


def _seconds(value: bytes, scale: float) -> float | None:
    text = value.decode("latin-1").strip()
    try:
        return float(text) * scale
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(text).timestamp() - time()
    except (ValueError, OverflowError, TypeError):
        return None
