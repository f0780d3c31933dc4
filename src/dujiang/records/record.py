"""What is remembered of a call. Written once, at the call's true end, and never changed."""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from dujiang.core.money import Charge

Status = Literal["ok", "error", "cancelled", "cut", "refused"]
"""`ok`: a complete answer; `error`: none; `cancelled`: the caller left before the end; `cut`: the answer broke off;
`refused`: we did not try (permission, limits, a request that is not valid)."""

FORMAT = 3
"""Of the encoding below. A reader refuses a later one. Before 2 the messages were written as JSON already; before 3
there were no `charges`."""


class Json(str):
    """The text of a JSON document."""

    __slots__ = ()


class AttemptRecord(Struct, frozen=True, array_like=True):
    """One try at one target. `why` has two words: why it was made, and by what the target was chosen. Times are
    milliseconds; `error_type` is the code of the error that ended it.

    `cost_micros` is in millionths of the record's currency, None where the price or the usage is not known.
    """

    provider: str
    target: str
    credential: str
    why: str
    error_type: str | None = None
    waited_ms: float = 0.0
    first_token_ms: float | None = None
    total_ms: float = 0.0
    cost_micros: int | None = None


class Content(Struct, frozen=True, array_like=True):
    """What was said, where the policy keeps it: the rendered messages as JSON, the answer as text.

    `is_masked` says whether secrets and personal numbers are to be taken out before it is stored.
    """

    messages: Json
    result: str
    is_masked: bool = True


class Record(Struct, frozen=True, array_like=True):
    """One call. `id` is a UUIDv7; `started_at_ms` Unix milliseconds; durations are milliseconds.

    Tokens are disjoint buckets, as `core.chat.Usage` has them; `usage_source` is None when nothing was used.
    `cost_micros` sums the attempts; None is "not known", which is never the same as 0. One unit of `currency` was worth
    `exchange_rate`, a decimal number, in `account_currency`. `served` is the vendor's name of the model that answered,
    `error_text` a sentence without secrets. `charges` are what budgets paid: the ledger's, not kept here.
    """

    id: str
    request_id: str
    started_at_ms: int
    app: str
    key_id: str
    endpoint: str
    status: Status
    http_status: int
    user_id: str | None = None
    user_role: str | None = None
    scene: str | None = None
    scene_version: int | None = None
    model_requested: str = ""
    model: str = ""
    served: str | None = None
    provider: str = ""
    target: str = ""
    credential: str = ""
    stream: bool = False
    error_type: str | None = None
    error_text: str | None = None
    finish_reason: str | None = None
    input_uncached: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output_visible: int = 0
    reasoning: int = 0
    usage_source: Literal["provider", "estimated"] | None = None
    cost_micros: int | None = None
    currency: str | None = None
    price_version: str | None = None
    cached: str | None = None
    first_token_ms: float | None = None
    total_ms: float = 0.0
    overhead_ms: float = 0.0
    queue_ms: float = 0.0
    config_revision: int = 0
    routing: bytes | None = None
    parent_id: str | None = None
    client_retries: int = 0
    request_bytes: int = 0
    attempts: tuple[AttemptRecord, ...] = ()
    content: Content | None = None
    account_currency: str | None = None
    exchange_rate: str | None = None
    charges: tuple[Charge, ...] = ()


def _as_json(_: type, messages: Any) -> Json:
    """Whoever writes a record leaves the messages as they are: to turn them into JSON is the reader's work."""
    return Json(messages if isinstance(messages, str) else _to_json(messages).decode())


_to_json = msgspec.json.Encoder().encode
encode = msgspec.msgpack.Encoder(enc_hook=str).encode
"""Takes a `Record`, or a tuple of its fields in their order, of which it makes the same bytes."""

decode = msgspec.msgpack.Decoder(Record, dec_hook=_as_json).decode
