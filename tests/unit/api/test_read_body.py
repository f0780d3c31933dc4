"""Reading a body within its limit, however it arrives, and refusing fields however they are spelt."""

import asyncio
from typing import Any

import pytest

from dujiang.api.request import CallerGone, read_body
from dujiang.api.wire import native, openai
from dujiang.core.errors import BodyTooLarge, InvalidRequest

LIMIT = 10


def read(*messages: dict[str, Any], length: bytes | None = None) -> bytes:
    left = [{"type": "http.request", "body": b"", **message} for message in messages]

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    fields = {} if length is None else {b"content-length": length}
    return asyncio.run(read_body(fields, receive, LIMIT))


def test_a_body_up_to_the_limit() -> None:
    assert read({"body": b"x" * LIMIT}) == b"x" * LIMIT
    assert read({"body": b"x" * LIMIT, "more_body": True}, {}) == b"x" * LIMIT
    assert read({"more_body": True}, {"body": b"ab", "more_body": True}, {"body": b"c"}) == b"abc"
    assert read({}) == b""


@pytest.mark.parametrize(
    "messages",
    [
        [{"body": b"x" * 11}],
        [{"body": b"x" * 11, "more_body": True}, {}],
        [{"body": b"x" * 6, "more_body": True}, {"body": b"x" * 5}],
    ],
)
def test_a_body_beyond_it(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(BodyTooLarge):
        read(*messages)


def test_a_declared_length_is_enough_to_refuse() -> None:
    with pytest.raises(BodyTooLarge):
        read(length=b"11")
    assert read({"body": b"x"}, length=b"nonsense") == b"x"


@pytest.mark.parametrize("before", [[], [{"body": b"x", "more_body": True}]])
def test_a_caller_that_leaves(before: list[dict[str, Any]]) -> None:
    with pytest.raises(CallerGone):
        read(*before, {"type": "http.disconnect"})


@pytest.mark.parametrize("name", ["base_url", "api_base", "api_key", "headers", "extra_headers", "proxies"])
@pytest.mark.parametrize("place", ["top", "message", "part", "metadata", "deep"])
def test_a_forbidden_field_cannot_hide_behind_an_escape(name: str, place: str) -> None:
    for spelt in (
        name,
        f"\\u{ord(name[0]):04x}{name[1:]}",
        f"\\u{ord(name[0]):04X}{name[1:]}",
        name.replace("e", "\\u0065"),
    ):
        field = f'"{spelt}":"x"'
        extra = {
            "top": f',{field},"messages":[{{"role":"user","content":"hi"}}]',
            "message": f',"messages":[{{"role":"user","content":"hi",{field}}}]',
            "part": f',"messages":[{{"role":"user","content":[{{"type":"text","text":"hi",{field}}}]}}]',
            "metadata": f',"metadata":{{{field}}},"messages":[{{"role":"user","content":"hi"}}]',
            "deep": f',"audio":{{"a":[{{"b":{{{field}}}}}]}},"messages":[{{"role":"user","content":"hi"}}]',
        }[place]
        for parse, body in (
            (openai.parse, f'{{"model":"m"{extra}}}'),
            (native.parse, f'{{"parameters":{{"prompt":"hi"{extra}}}}}'),
        ):
            with pytest.raises(InvalidRequest) as refused:
                parse(body.encode())
            assert refused.value.reason == "forbidden_field"
            assert refused.value.param.endswith(name)


def test_escapes_in_a_text_are_just_a_text() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"caf\\u00e9 \\u0022headers\\u0022: \\"api_key\\": 1"}]}'
    assert openai.parse(body).request.messages[0].content == 'café "headers": "api_key": 1'
