"""The requirement's own endpoint, whole and streaming."""

import time

import pytest
from gateway import Gateway, behaving

from dujiang.emulator.server import Emulator

SEED = {
    "model": "gpt-4",
    "parameters": {"prompt": "你好，世界", "temperature": 0.7, "max_tokens": 100, "prompt_id": "scene_1"},
    "user_info": {"user_id": "123456", "user_role": "admin"},
    "request_id": "uuid-1234567890",
}


def test_the_seeds_request_gets_the_seeds_answer(gateway: Gateway) -> None:
    answer = gateway.ask("/api/v1/chat/completions", SEED)
    assert answer.status == 200
    body = answer.json
    assert body["code"] == 200
    assert body["message"] == "success"
    assert body["request_id"] == "uuid-1234567890"
    assert abs(body["timestamp"] - time.time()) < 60
    data = body["data"]
    assert isinstance(data["result"], str)
    assert data["result"]
    assert data["model_info"] == {"name": "gpt-4", "provider": "openai", "version": "0613"}
    usage = data["usage"]
    assert usage["prompt_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert answer.headers["x-request-id"] == "uuid-1234567890"
    assert float(answer.headers["x-dujiang-overhead-ms"]) >= 0


def test_an_alias_shows_its_target(gateway: Gateway) -> None:
    assert gateway.chat("gpt-4-turbo").json["data"]["model_info"]["name"] == "gpt-4"


def test_the_version_comes_from_the_answer_else_from_the_configuration(gateway: Gateway, emulator: Emulator) -> None:
    with behaving(emulator, "gpt-4-0613", "served=gpt-4-2024-08-06"):
        assert gateway.chat().json["data"]["model_info"]["version"] == "2024-08-06"
    with behaving(emulator, "gpt-4-0613", "served=somebody-else"):
        assert gateway.chat().json["data"]["model_info"]["version"] == "0613"
    assert gateway.chat("lab-7b").json["data"]["model_info"]["version"] == ""


def test_a_stream_is_envelopes_then_a_last_one_with_usage_then_done(gateway: Gateway) -> None:
    answer = gateway.chat(stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, done = answer.events
    assert done == "[DONE]"
    *deltas, last = events
    assert len(deltas) > 1
    assert {event["code"] for event in events} == {200}
    assert len({event["request_id"] for event in events}) == 1
    text = "".join(event["data"]["delta"] for event in deltas)
    assert text == gateway.chat().json["data"]["result"]
    assert "delta" not in last["data"]
    assert last["data"]["finish_reason"] == "stop"
    assert last["data"]["model_info"] == {"name": "gpt-4", "provider": "openai", "version": "0613"}
    assert last["data"]["usage"]["total_tokens"] > 0


def test_messages_and_tools_travel_through(gateway: Gateway, emulator: Emulator) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "北京的天气？"}]},
        {"role": "assistant", "content": "哪一天？"},
        {"role": "user", "content": "今天"},
    ]
    body = {"model": "gpt-4", "parameters": {"messages": messages, "tools": [tool]}}
    with behaving(emulator, "gpt-4-0613", "ok_tools"):
        whole = gateway.ask("/api/v1/chat/completions", body).json["data"]
        body["parameters"]["stream"] = True
        events = gateway.ask("/api/v1/chat/completions", body).events[:-1]
    assert whole["finish_reason"] == "tool_calls"
    assert whole["tool_calls"][0]["function"]["name"] == "weather"
    pieces = [piece for event in events for piece in event["data"].get("tool_calls", [])]
    arguments = "".join(piece["function"].get("arguments", "") for piece in pieces)
    assert arguments == whole["tool_calls"][0]["function"]["arguments"]


def test_reasoning_is_kept_apart(gateway: Gateway, emulator: Emulator) -> None:
    with behaving(emulator, "gpt-4-0613", "ok_reasoning"):
        data = gateway.chat().json["data"]
        events = gateway.chat(stream=True).events[:-2]
    assert data["reasoning"]
    assert data["reasoning"] not in data["result"]
    assert "".join(event["data"].get("reasoning", "") for event in events) == data["reasoning"]


@pytest.mark.parametrize(
    ("role", "model", "status"),
    [("admin", "gpt-4", 200), ("guest", "gpt-4", 403), ("guest", "lab-7b", 200), ("watcher", "lab-7b", 403)],
)
def test_a_claimed_role_narrows(gateway: Gateway, role: str, model: str, status: int) -> None:
    body = {"model": model, "parameters": {"prompt": "hi"}, "user_info": {"user_role": role}}
    assert gateway.ask("/api/v1/chat/completions", body).status == status


def test_an_undefined_claimed_role_is_refused_by_name(gateway: Gateway) -> None:
    body = {"model": "gpt-4", "parameters": {"prompt": "hi"}, "user_info": {"user_role": "emperor"}}
    answer = gateway.ask("/api/v1/chat/completions", body)
    assert answer.status == 403
    assert "emperor" in answer.json["message"]


def test_a_roles_limit_of_tokens_holds(gateway: Gateway) -> None:
    body = {"model": "lab-7b", "parameters": {"prompt": "hi", "max_tokens": 257}, "user_info": {"user_role": "guest"}}
    answer = gateway.ask("/api/v1/chat/completions", body)
    assert answer.status == 400
    assert answer.json["error"]["param"] == "parameters.max_tokens"


def test_a_scenes_variables_fill_its_places(gateway: Gateway) -> None:
    few = gateway.chat(prompt_id="scene_1").json["data"]["usage"]["prompt_tokens"]
    more = gateway.chat(prompt_id="scene_1@1", variables={"company": "都江堰水利发展有限责任公司"}).json["data"][
        "usage"
    ]
    assert more["prompt_tokens"] > few > gateway.chat().json["data"]["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("parameters", "status", "param"),
    [
        ({"prompt_id": "scene_2"}, 404, "parameters.prompt_id"),
        ({"prompt_id": "scene_1@2"}, 404, "parameters.prompt_id"),
        ({"prompt_id": "scene_1@nowhere"}, 404, "parameters.prompt_id"),
        ({"prompt_id": "../../etc/passwd"}, 400, "parameters.prompt_id"),
        ({"prompt_id": ""}, 400, "parameters.prompt_id"),
        ({"prompt_id": "scene_1", "variables": {"firm": "x"}}, 422, "parameters.variables.firm"),
        ({"prompt_id": "scene_1", "variables": {"company": 7}}, 422, "parameters.variables.company"),
    ],
)
def test_a_scene_that_cannot_be_rendered(gateway: Gateway, parameters: dict, status: int, param: str) -> None:
    answer = gateway.chat(**parameters)
    assert answer.status == status
    assert answer.json["error"]["param"] == param


def test_a_model_without_a_credential_says_what_is_missing(gateway: Gateway) -> None:
    answer = gateway.chat("keyless")
    assert answer.status == 503
    assert answer.json["error"]["type"] == "misconfigured"
    assert "credential" in answer.json["message"]


def test_auto_is_not_built_and_says_so(gateway: Gateway) -> None:
    answer = gateway.chat("auto")
    assert answer.status == 501
    assert answer.json["error"]["type"] == "not_implemented"


def test_a_caller_may_shorten_the_deadline(gateway: Gateway, emulator: Emulator) -> None:
    with behaving(emulator, "gpt-4-0613", "latency=20000"):
        began = time.monotonic()
        answer = gateway.chat(timeout_s=0.2)
    assert answer.status == 504
    assert time.monotonic() - began < 10
