"""The header fields in which an answer tells how much its caller may still ask for: those of OpenAI's API."""

from dujiang.core.limits import Permit, Refusal, Standing

Fields = list[tuple[bytes, bytes]]

_NAMES = {
    kind: tuple(f"x-ratelimit-{what}-{kind}".encode() for what in ("limit", "remaining", "reset"))
    for kind in ("requests", "tokens")
}


def permitted_fields(permit: Permit) -> Fields:
    """Of a call that was let in: the tightest of its rates, of requests and of tokens."""
    fields: Fields = []
    if permit.requests_left is not None:
        fields += _fields("requests", permit.requests_left)
    if permit.tokens_left is not None:
        fields += _fields("tokens", permit.tokens_left)
    return fields


def refused_fields(refusal: Refusal) -> Fields:
    """Of a call that was not: the rate that it did not pass."""
    if refusal.standing is None:
        return []
    return _fields(refusal.name, refusal.standing)


def _fields(kind: str, standing: Standing) -> Fields:
    limit, remaining, reset = _NAMES[kind]
    return [
        (limit, b"%d" % standing.limit),
        (remaining, b"%d" % standing.remaining),
        (reset, _duration(standing.reset_s)),
    ]


def _duration(seconds: float) -> bytes:
    """As OpenAI writes it: `17ms`, `1.5s`, `1m0s`."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return b"%dms" % milliseconds
    minutes, rest = divmod(milliseconds / 1000, 60)
    return b"%dm%gs" % (minutes, round(rest, 3)) if minutes else b"%gs" % rest
