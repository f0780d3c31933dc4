"""The script of a call: text such as `status=503;retry_after=2`, parsed into a frozen `Behaviour`."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import Struct

_MAX_TEXT = 1_000
_MAX_MS = 3_600_000
_MAX_COUNT = 100_000
_MAX_TOKENS = 2**62
_MAX_S = 2**31


ConditionName = Literal["flaky", "fail_first", "fail_after", "rate", "concurrency", "quota_after"]


class Condition(Struct, frozen=True):
    """When the failure of a behaviour happens; without one it happens on every call."""

    name: ConditionName
    value: float


class Fault(Struct, frozen=True):
    """A way of breaking an answer; `count` is the N of `cut_after=N`."""

    name: str
    count: int = 0


class TokenEnd(Struct, frozen=True):
    """How an access token ends before its time: what it is from then on, and after how many calls."""

    state: Literal["invalid", "expired"]
    calls: int


class Behaviour(Struct, frozen=True, kw_only=True):
    """What the emulator does with a call. The default is a prompt and faithful answer."""

    latency_ms: int = 0
    ttft_ms: int = 0
    chunks: int | None = None
    chunk_interval_ms: int = 0
    tokens: tuple[int, int] | None = None
    served: str | None = None
    finish: str | None = None
    answer: Literal["text", "tools", "tools_split", "reasoning"] = "text"
    usage: Literal["extra_chunk", "missing", "zero", "every_chunk", "last_content_chunk", "wrong", "huge"] = (
        "extra_chunk"
    )
    has_crlf: bool = False
    has_no_space: bool = False
    has_no_done: bool = False
    has_empty_deltas: bool = False
    is_truncated: bool = False
    needs_clear_history: bool = False
    has_comments: bool = False
    has_blank_lines: bool = False
    splits_utf8: bool = False
    drips: bool = False
    has_slow_headers: bool = False
    is_json_only: bool = False
    status: int | None = None
    error: str | None = None
    retry_after: str | None = None
    retry_after_ms: str | None = None
    token_expires_in_s: int | None = None
    token_end: TokenEnd | None = None
    fault: Fault | None = None
    condition: Condition | None = None
    seed: int = 0

    @property
    def has_wait(self) -> bool:
        """Whether the caller is told when to come back."""
        return self.retry_after is not None or self.retry_after_ms is not None

    @property
    def has_error(self) -> bool:
        """Whether its terms ask for an error of the vendor."""
        return self.error is not None or self.has_wait or self.status not in (None, 200)

    @property
    def has_failure(self) -> bool:
        """Whether its terms say how a call fails."""
        return self.fault is not None or self.has_error

    def passing(self) -> "Behaviour":
        """The same without its failure: what a call gets when the condition is not met."""
        return msgspec.structs.replace(
            self, condition=None, fault=None, status=None, error=None, retry_after=None, retry_after_ms=None
        )


class BadBehaviour(ValueError):
    """A script that names what the emulator does not know. The message is one sentence for whoever wrote it."""


class Term(Struct, frozen=True):
    """A term `NAME=VALUE`: the field it sets, the form of the value as shown to people, and how it is read."""

    field: str
    form: str
    read: Callable[[str], object]


def _whole(lowest: int, highest: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,20}", text) or not lowest <= int(text) <= highest:
            raise ValueError(f"a whole number from {lowest} to {highest}")
        return int(text)

    return read


def _share(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,12})?", text) or float(text) > 1:
        raise ValueError("a number from 0 to 1")
    return float(text)


def _status(text: str) -> int:
    if text != "200" and not re.fullmatch(r"[45][0-9]{2}", text):
        raise ValueError("200, or an error status from 400 to 599")
    return int(text)


def _tokens(text: str) -> tuple[int, int]:
    count = _whole(0, _MAX_TOKENS)
    prompt, slash, completion = text.partition("/")
    if not slash:
        raise ValueError("two whole numbers, as 120/48")
    return count(prompt), count(completion)


def _printable(text: str) -> str:
    if not re.fullmatch(r"[ -~]{1,200}", text):
        raise ValueError("1 to 200 printable ASCII characters")
    return text


def _condition(name: ConditionName, read: Callable[[str], float], form: str = "N") -> Term:
    return Term("condition", form, lambda text: Condition(name, read(text)))


_count = _whole(0, _MAX_COUNT)
_time = _whole(0, _MAX_MS)

TERMS: dict[str, Term] = {
    "latency": Term("latency_ms", "MS", _time),
    "ttft": Term("ttft_ms", "MS", _time),
    "chunks": Term("chunks", "N", _whole(1, _MAX_COUNT)),
    "chunk_interval": Term("chunk_interval_ms", "MS", _time),
    "tokens": Term("tokens", "IN/OUT", _tokens),
    "served": Term("served", "NAME", _printable),
    "finish": Term("finish", "REASON", _printable),
    "status": Term("status", "CODE", _status),
    "error": Term("error", "NAME", _printable),
    "retry_after": Term("retry_after", "S", _printable),
    "retry_after_ms": Term("retry_after_ms", "MS", _printable),
    "cut_after": Term("fault", "N", lambda text: Fault("cut_after", _count(text))),
    "flaky": _condition("flaky", _share, "P"),
    "fail_first": _condition("fail_first", _count),
    "fail_after": _condition("fail_after", _count),
    "quota_after": _condition("quota_after", _count),
    "concurrency": _condition("concurrency", _whole(1, _MAX_COUNT)),
    "rate": _condition("rate", _whole(1, _MAX_COUNT), "RPM"),
    "seed": Term("seed", "N", _whole(0, 2**31)),
    "token_expires_in": Term("token_expires_in_s", "S", _whole(0, _MAX_S)),
    "token_invalid_after": Term("token_end", "N", lambda text: TokenEnd("invalid", _count(text))),
    "token_expired_after": Term("token_end", "N", lambda text: TokenEnd("expired", _count(text))),
}

WORDS: dict[str, tuple[str, object]] = {
    "ok_tools": ("answer", "tools"),
    "ok_tools_split": ("answer", "tools_split"),
    "ok_reasoning": ("answer", "reasoning"),
    "ok_utf8_split": ("splits_utf8", True),
    "empty_deltas": ("has_empty_deltas", True),
    "is_truncated": ("is_truncated", True),
    "need_clear_history": ("needs_clear_history", True),
    "ok_crlf": ("has_crlf", True),
    "ok_no_space_after_colon": ("has_no_space", True),
    "ok_no_done": ("has_no_done", True),
    "ok_comments": ("has_comments", True),
    "ok_blank_lines_then_json": ("has_blank_lines", True),
    "json_on_stream": ("is_json_only", True),
    "slow_headers": ("has_slow_headers", True),
    "drip_1_byte": ("drips", True),
    "usage_extra_chunk": ("usage", "extra_chunk"),
    "usage_missing": ("usage", "missing"),
    "usage_zero": ("usage", "zero"),
    "usage_every_chunk": ("usage", "every_chunk"),
    "usage_last_content_chunk": ("usage", "last_content_chunk"),
    "usage_wrong": ("usage", "wrong"),
    "usage_huge": ("usage", "huge"),
}

FAULTS = (
    "hang",
    "garbage",
    "reset_before_headers",
    "reset_after_headers",
    "half_close",
    "cut_mid_utf8",
    "cut_mid_json",
    "fin_without_done",
    "error_in_stream",
    "error_in_stream_then_done",
    "oversize_line",
    "deep_json",
    "gzip_bomb",
    "bad_content_length",
    "html_502",
    "empty_200",
    "json_string_401",
    "redirect_to_other_host",
)
"""The faults that take no number. Each one ends the call otherwise than a vendor's answer or error would."""

_ERRORS_INSIDE = ("error_in_stream", "error_in_stream_then_done")

_SPELLINGS = {
    "conc": "concurrency",
    "slow_first_token": "ttft",
    "slow_between": "chunk_interval",
    "hang_forever": "hang",
    "rst_before_headers": "reset_before_headers",
    "rst_after_headers": "reset_after_headers",
}
_UNDERSCORED = re.compile(r"([a-z_]+)_([0-9.]+)(?:_chunks)?")


def forms() -> list[str]:
    """Every term as people write it: `ok`, `latency=MS`, …"""
    return ["ok", *(f"{name}={term.form}" for name, term in TERMS.items()), *WORDS, *FAULTS]


@lru_cache(maxsize=4096)
def parse(text: str, errors: frozenset[str]) -> Behaviour:
    """Read terms joined by `;`. `errors` are the names that `error=` may take.

    `status_503` is `status=503`: the form for a model's name. Raises `BadBehaviour` on an unknown term, a bad value, or
    two terms that exclude each other.
    """
    if len(text) > _MAX_TEXT:
        raise BadBehaviour(f"A behaviour has at most {_MAX_TEXT} characters.")
    fields: dict[str, object] = {}
    for written in text.split(";"):
        name, value = _field(_spelled_out(written.strip()), errors)
        if name in fields:
            raise BadBehaviour(f"{written.strip()!r} excludes another term of {text!r}.")
        fields[name] = value
    fields.pop("", None)
    behaviour = msgspec.convert(fields, Behaviour)
    if behaviour.fault is not None and behaviour.has_error and behaviour.fault.name not in _ERRORS_INSIDE:
        raise BadBehaviour(f"{behaviour.fault.name} excludes status, error and retry_after in {text!r}.")
    return behaviour


@lru_cache(maxsize=4096)
def parse_model_name(model: str, errors: frozenset[str]) -> Behaviour | None:
    """The behaviour that a model's name spells, or None for an ordinary name."""
    try:
        return parse(model, errors)
    except BadBehaviour:
        return None


def _spelled_out(term: str) -> str:
    match = _UNDERSCORED.fullmatch(term)
    if match is not None:
        name = _SPELLINGS.get(match[1], match[1])
        if name in TERMS:
            return f"{name}={match[2]}"
    return _SPELLINGS.get(term, term)


def _field(term: str, errors: frozenset[str]) -> tuple[str, object]:
    if term == "ok":
        return "", True
    if term in WORDS:
        return WORDS[term]
    if term in FAULTS:
        return "fault", Fault(term)
    name, equals, value = (part.strip() for part in term.partition("="))
    if name not in TERMS or not equals:
        raise BadBehaviour(f"Unknown behaviour {term!r}. Known: {', '.join(forms())}.")
    try:
        read = TERMS[name].read(value)
    except ValueError as problem:
        raise BadBehaviour(f"{term!r}: {name} takes {problem}.") from None
    if name == "error" and read not in errors:
        raise BadBehaviour(f"Unknown error {value!r}. Known: {', '.join(sorted(errors))}.")
    return TERMS[name].field, read
