"""Baidu has many kinds of keys, and two that call ERNIE. Which one a text is, or what it is instead."""

import re

from msgspec import Struct

_V2 = re.compile(r"(?P<key>bce-v3/ALTAK-[\w-]+/[\w-]+)(?:\|(?P<appid>app-[\w-]+))?\Z")
_V1 = re.compile(r"(?P<api_key>[\w-]{1,128}):(?P<secret_key>[\w-]{1,128})\Z", re.ASCII)
_WRONG_KINDS = tuple(
    (re.compile(pattern, re.ASCII), kind)
    for pattern, kind in (
        (r"(?i:bearer )", "a whole header: leave the word `Bearer` out"),
        (r"bce-v3/.*:", "a key of Qianfan V2 in the place of an AK"),
        (r"bce-v3/", "a key of Qianfan V2 that is cut short"),
        (
            r"(ALTAK[\w-]*|[0-9a-f]{32})(:|\Z)",
            "an access key of Baidu Cloud's IAM, which signs requests of other services",
        ),
        (r"2[45]\.[0-9a-f]{32}\.", "an access token, which expires after 30 days"),
        (r"(app-[\w-]+|\d{6,12})\Z", "the id of an application, not its keys"),
        (r"sk-", "a key of another vendor"),
        (r"([A-Za-z0-9]{24}|[A-Za-z0-9]{32})\Z", "only half of a pair"),
    )
)
_USE = "Give the API key and secret key of a Qianfan application as `AK:SK`, or an API key of Qianfan V2 as `bce-v3/…`."


class V1Credential(Struct, frozen=True):
    """API key and secret key of an application: they are exchanged for an access token."""

    api_key: str
    secret_key: str


class V2Credential(Struct, frozen=True):
    """An API key of Qianfan V2, sent as it is; `appid` where the key is bound to an application."""

    key: str
    appid: str | None = None


class WrongCredential(ValueError):
    """A text that cannot call ERNIE; the message names what it is and what to use instead, and never repeats it."""


def read_credential(text: str) -> V1Credential | V2Credential:
    """`AK:SK`, `bce-v3/…`, or `bce-v3/…|app-…`. Raises `WrongCredential`."""
    found = _V2.match(text)
    if found:
        return V2Credential(found["key"], found["appid"])
    kind = _wrong_kind(text)
    if kind:
        raise WrongCredential(f"This is {kind}. {_USE}")
    found = _V1.match(text)
    if found:
        return V1Credential(found["api_key"], found["secret_key"])
    raise WrongCredential(f"This is no credential of ERNIE. {_USE}")


def _wrong_kind(text: str) -> str | None:
    """What a text is, where it is a well-known thing that does not call ERNIE."""
    return next((kind for pattern, kind in _WRONG_KINDS if pattern.match(text)), None)
