"""What Qianfan V2 takes and what it refuses: where it differs from OpenAI, and by which code."""

import json

import pytest

from dujiang.emulator.ernie.v2.request import Rejected, read_chat

ASK = {"role": "user", "content": "你好"}
CALLING = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "{}"}
TOOL = {"type": "function", "function": {"name": "f"}}


def read(**fields: object):
    return read_chat(json.dumps({"model": "ernie-4.5-turbo-128k", "messages": [ASK], **fields}).encode())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"messages": [{"role": "system", "content": "x"}, ASK, ASK]},
        {"messages": [ASK, CALLING, RESULT], "tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
        {"temperature": 0},
        {"temperature": 2},
        {"model": "ernie-4.0-8k", "temperature": 1},
        {"stream": True, "stream_options": {"include_usage": True, "chunk_include_usage": True}},
        {"penalty_score": 1.0, "frequency_penalty": -2, "presence_penalty": 2, "repetition_penalty": 1.2},
        {"max_tokens": 5, "max_completion_tokens": 3, "seed": 1, "stop": ["。" * 20] * 4},
        {"seed": 2_147_483_646},
        {
            "enable_thinking": True,
            "thinking_budget": 100,
            "reasoning_effort": "low",
            "thinking_strategy": "short_think",
        },
        {
            "web_search": {"enable": True, "enable_trace": True, "search_mode": "auto"},
            "user": "u",
            "metadata": {"a": "b"},
        },
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}},
    ],
)
def test_taken(fields):
    read(**fields)


def test_the_limit_of_answer_and_thought_goes_first():
    assert read(max_tokens=5, max_completion_tokens=3).most_tokens == 3
    assert read(max_tokens=5).most_tokens == 5


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"model": ""}, "invalid_model"),
        ({"model": None}, "invalid_model"),
        ({"messages": []}, "invalid_messages"),
        ({"messages": [{"role": "user", "content": " \n"}]}, "invalid_messages"),
        ({"messages": [{"role": "system", "content": ""}, ASK]}, "invalid_messages"),
        ({"messages": [{"role": "developer", "content": "x"}, ASK]}, "invalid_messages"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "invalid_messages"),
        ({"messages": [{"role": "assistant", "refusal": "no", "content": "x"}]}, "invalid_messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "invalid_messages"),
        ({"messages": [RESULT]}, "invalid_messages"),
        ({"messages": [ASK, CALLING, ASK]}, "invalid_messages"),
        ({"temperature": 2.1}, "invalid_argument"),
        ({"model": "ernie-4.0-8k", "temperature": 0}, "invalid_argument"),
        ({"model": "ERNIE-Speed-128K", "temperature": 1.5}, "invalid_argument"),
        ({"penalty_score": 0.9}, "invalid_argument"),
        ({"penalty_score": 2.1}, "invalid_argument"),
        ({"stop": "。"}, "invalid_argument"),
        ({"stop": ["。"] * 5}, "invalid_argument"),
        ({"stop": ["。" * 21]}, "invalid_argument"),
        ({"seed": 0}, "invalid_argument"),
        ({"seed": 2_147_483_647}, "invalid_argument"),
        ({"thinking_budget": 99}, "invalid_argument"),
        ({"stream_options": {"include_obfuscation": True}}, "invalid_argument"),
        ({"n": 2}, "invalid_argument"),
        ({"logprobs": True}, "invalid_argument"),
        ({"top_p": None}, "invalid_argument"),
        ({"max_tokens": 0}, "invalid_argument"),
        ({"tool_choice": "auto"}, "invalid_argument"),
        ({"response_format": {"type": "json_schema"}}, "invalid_argument"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"enum": 5}}}]}, "invalid_argument"),
    ],
)
def test_refused(fields, code):
    with pytest.raises(Rejected) as caught:
        read(**fields)
    assert (caught.value.failure.status, caught.value.failure.code) == (400, code)
    assert caught.value.failure.message


@pytest.mark.parametrize("body", [b"", b"{", b"\xff"])
def test_what_is_no_json(body):
    with pytest.raises(Rejected) as caught:
        read_chat(body)
    assert caught.value.failure.code == "malformed_json"


def test_a_body_without_a_model():
    with pytest.raises(Rejected) as caught:
        read_chat(json.dumps({"messages": [ASK]}).encode())
    assert (caught.value.failure.code, caught.value.failure.message) == ("invalid_model", "model is empty")
