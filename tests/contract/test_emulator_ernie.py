"""The emulator as callers of Baidu meet it: V1 with its tokens, and Qianfan V2, both whole and streamed."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from urllib.parse import quote, urlencode, urlsplit

import openai
import pytest

from dujiang.emulator.background import running
from dujiang.emulator.ernie.v1 import failures as v1
from dujiang.emulator.ernie.v1 import oauth
from dujiang.emulator.ernie.v2 import failures as v2
from dujiang.emulator.server import Emulator

ASK = {"role": "user", "content": "你好，世界"}
SERVICE = "/rpc/2.0/ai_custom/v1/wenxinworkshop"
KEY = "bce-v3/ALTAK-test/0123456789"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(scope="module")
def shared() -> Iterator[Emulator]:
    with running({"slow": "latency=60000"}) as emulator:
        yield emulator


@pytest.fixture
def emulator(shared: Emulator) -> Emulator:
    request(shared, "DELETE", "/_emulator/counters")
    for model in ("oauth", "completions_pro"):
        behave(shared, model, None)
    return shared


@pytest.fixture
def token(emulator: Emulator) -> str:
    return fetch(emulator)["access_token"]


def request(emulator: Emulator, method: str, path: str, body: object = None, **headers: str):
    """One plain request; gives status, headers in lower case and the body."""
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    with closing(http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=20)) as connection:
        connection.request(method, path, content, headers)
        with connection.getresponse() as answer:
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def connect(emulator: Emulator) -> socket.socket:
    where = urlsplit(emulator.url)
    return socket.create_connection((where.hostname, where.port), timeout=20)


def behave(emulator: Emulator, model: str, behaviour: str | None) -> None:
    status, _, body = request(emulator, "POST", "/_emulator/behaviour", {"model": model, "behaviour": behaviour})
    assert status == 200, body


def ask_for_token(emulator: Emulator, script: str = "ok", method: str = "POST", **query: str):
    pair = {"grant_type": "client_credentials", "client_id": "ak-test", "client_secret": "sk-test", **query}
    headers = {"X-Emulate": script} if script != "ok" else {}
    status, _, body = request(emulator, method, f"/oauth/2.0/token?{urlencode(pair)}", **headers)
    return status, json.loads(body)


def fetch(emulator: Emulator, **query: str) -> dict:
    status, body = ask_for_token(emulator, **query)
    assert status == 200, body
    return body


def chat(emulator: Emulator, token: str | None, script: str = "ok", path: str = "completions_pro", **fields: object):
    query = "" if token is None else f"?access_token={quote(token)}"
    body = {"messages": [ASK], **fields}
    headers = {} if script == "ok" else {"X-Emulate": script}
    return request(emulator, "POST", f"{SERVICE}/chat/{path}{query}", body, **headers)


def v1_code(answer) -> int | None:
    status, headers, body = answer
    assert (status, headers["content-type"]) == (200, "application/json")
    return json.loads(body).get("error_code")


def qianfan(emulator: Emulator, script: str = "ok", **fields: object):
    body = {"model": "ernie-4.0-8k", "messages": [ASK], **fields}
    headers = {"Authorization": f"Bearer {KEY}"} | ({} if script == "ok" else {"X-Emulate": script})
    return request(emulator, "POST", "/v2/chat/completions", body, **headers)


def payloads(body: bytes) -> list[str]:
    return [line[5:].strip() for line in body.decode().splitlines() if line.startswith("data:")]


def documents(body: bytes) -> list[dict]:
    return [json.loads(payload) for payload in payloads(body) if payload != "[DONE]"]


# The tokens of V1


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_token(emulator, method):
    status, body = ask_for_token(emulator, method=method)
    assert status == 200
    assert body["expires_in"] == 2_592_000
    assert body["access_token"].startswith("24.")
    assert {"refresh_token", "scope", "session_key", "session_secret"} < set(body)
    assert emulator.counters.token_fetches == 1


@pytest.mark.parametrize(
    ("query", "status", "error", "description"),
    [
        ({"client_id": "ak-unknown"}, 401, "invalid_client", "unknown client id"),
        ({"client_id": ""}, 401, "invalid_client", "unknown client id"),
        ({"client_secret": "sk-wrong"}, 401, "invalid_client", "Client authentication failed"),
        ({"client_secret": ""}, 401, "invalid_client", "Client authentication failed"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", "The grant type is not supported"),
        ({"grant_type": ""}, 400, "unsupported_grant_type", "The grant type is not supported"),
    ],
)
def test_refused_key_pairs(emulator, query, status, error, description):
    assert ask_for_token(emulator, **query) == (status, {"error": error, "error_description": description})
    assert emulator.counters.token_fetches == 1
    assert emulator.counters.model("oauth").completed == 0


def test_every_token_error_by_name(emulator):
    for name, failure in oauth.FAILURES.items():
        status, body = ask_for_token(emulator, f"error={name}")
        assert (status, body["error"], body["error_description"]) == (
            failure.status,
            failure.error,
            failure.description,
        )
    assert ask_for_token(emulator, "status=503")[1]["error"] == "temporarily_unavailable"
    assert ask_for_token(emulator, "error=server_error;status=502")[0] == 502
    assert ask_for_token(emulator, "nonsense")[0] == 400
    assert emulator.counters.token_fetches == len(oauth.FAILURES) + 3


def test_fetches_behave_as_the_model_oauth(emulator):
    behave(emulator, "oauth", "fail_first=2;token_expires_in=7")
    assert [ask_for_token(emulator)[0] for _ in range(3)] == [500, 500, 200]
    assert fetch(emulator)["expires_in"] == 7
    tally = json.loads(request(emulator, "GET", "/_emulator/counters")[2])
    assert (tally["token_fetches"], tally["models"]["oauth"]["completed"], tally["keys"]) == (4, 2, {})
    behave(emulator, "oauth", "fail_after=0;reset_before_headers")
    with pytest.raises(ConnectionError):
        ask_for_token(emulator)


def test_fetches_that_wait_are_in_flight(emulator):
    behave(emulator, "oauth", "latency=60000")
    path = "/oauth/2.0/token?grant_type=client_credentials&client_id=a&client_secret=s"
    with ExitStack() as peers:
        for _ in range(3):
            peers.enter_context(connect(emulator)).sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        eventually(lambda: emulator.counters.model("oauth").in_flight == 3)
    eventually(lambda: emulator.counters.model("oauth").disconnected == 3)


def test_tokens_that_are_no_good(emulator, token):
    assert v1_code(chat(emulator, None)) == 100
    assert v1_code(chat(emulator, "")) == 100
    assert v1_code(chat(emulator, "24.unknown")) == 110
    assert v1_code(chat(emulator, token)) is None
    behave(emulator, "oauth", "token_expires_in=0")
    assert v1_code(chat(emulator, fetch(emulator)["access_token"])) == 111
    assert emulator.counters.model("completions_pro").attempts == 5
    assert set(emulator.counters.keys) == {"ak-test"}


@pytest.mark.parametrize(("term", "code"), [("token_invalid_after", 110), ("token_expired_after", 111)])
def test_a_token_ends_after_its_calls(emulator, token, term, code):
    behave(emulator, "completions_pro", f"{term}=2")
    assert [v1_code(chat(emulator, token, stream=index == 2)) for index in range(2)] == [None, None]
    assert v1_code(chat(emulator, token, stream=True)) == code
    assert v1_code(chat(emulator, token, path="ernie_speed")) == code
    again = fetch(emulator)["access_token"]
    assert v1_code(chat(emulator, again)) is None
    tally = emulator.counters.model("completions_pro")
    assert (tally.attempts, tally.completed) == (4, 3)
    assert emulator.counters.key("ak-test").attempts == 5


def test_exactly_that_many_calls_of_many_at_once(emulator, token):
    behave(emulator, "completions_pro", "token_invalid_after=40")
    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(lambda _: v1_code(chat(emulator, token)), range(60)))
    assert (codes.count(None), codes.count(110)) == (40, 20)


def test_two_emulators_do_not_know_each_others_tokens(emulator, token):
    with running() as other:
        assert v1_code(chat(other, token)) == 110
        assert other.counters.token_fetches == 0


# The answers of V1


def test_v1_whole_answer(emulator, token):
    status, headers, body = chat(emulator, token)
    answer = json.loads(body)
    assert status == 200
    assert list(answer) == [
        "id", "object", "created", "is_truncated", "result", "need_clear_history", "finish_reason", "usage",
    ]  # fmt: skip
    assert answer["id"].startswith("as-")
    assert answer["result"].startswith("[emulated completions_pro] ")
    assert (answer["finish_reason"], answer["is_truncated"]) == ("normal", False)
    usage = answer["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]
    assert headers["x-ratelimit-limit-requests"] == "10000"
    assert headers["x-baidu-request-id"]
    assert emulator.counters.model("completions_pro").completed == 1


def test_v1_stream_says_the_same(emulator, token):
    whole = json.loads(chat(emulator, token)[2])
    status, headers, body = chat(emulator, token, stream=True)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert b"[DONE]" not in body
    assert b"event:" not in body
    frames = documents(body)
    assert "".join(frame["result"] for frame in frames) == whole["result"]
    assert [frame["sentence_id"] for frame in frames] == list(range(9))
    assert [frame["is_end"] for frame in frames] == [False] * 8 + [True]
    assert (frames[-1]["result"], frames[-1]["finish_reason"]) == ("", "normal")
    counts = [frame["usage"]["completion_tokens"] for frame in frames]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    assert frames[-1]["usage"] == whole["usage"]
    assert len({frame["id"] for frame in frames}) == 1


def test_v1_special_answers(emulator, token):
    def last(script: str, **fields: object) -> list[dict]:
        whole = json.loads(chat(emulator, token, script, **fields)[2])
        return [whole, documents(chat(emulator, token, script, stream=True, **fields)[2])[-1]]

    for answer in last("need_clear_history"):
        assert (answer["need_clear_history"], answer["ban_round"], answer["flag"]) == (True, -1, 2)
    for answer in last("finish=content_filter"):
        assert answer["finish_reason"] == "content_filter"
    for answer in last("is_truncated"):
        assert (answer["is_truncated"], answer["finish_reason"]) == (True, "normal")
    for answer in last("ok", max_output_tokens=3):
        assert (answer["is_truncated"], answer["finish_reason"]) == (True, "length")
        assert answer["usage"]["completion_tokens"] == 3
    whole = json.loads(chat(emulator, token, "ok", response_format="json_object")[2])
    assert json.loads(whole["result"])["emulated"] is True
    frames = documents(chat(emulator, token, "empty_deltas;chunks=3", stream=True)[2])
    assert [bool(frame["result"]) for frame in frames] == [True, False] * 3 + [False]


def test_v1_usage_in_every_disguise(emulator, token):
    def usages(script: str) -> list:
        return [frame.get("usage") for frame in documents(chat(emulator, token, script, stream=True)[2])]

    assert usages("tokens=120/48;chunks=2")[-1] == {"prompt_tokens": 120, "completion_tokens": 48, "total_tokens": 168}
    assert [usage["total_tokens"] for usage in usages("tokens=100/40;chunks=2")] == [120, 140, 140]
    assert set(usages("usage_missing")) == {None}
    assert "usage" not in json.loads(chat(emulator, token, "usage_missing")[2])
    assert usages("usage_last_content_chunk")[:-1] == [None] * 8
    assert usages("usage_zero")[-1]["total_tokens"] == 0
    assert usages("usage_huge")[-1]["total_tokens"] == 2**63
    wrong = usages("usage_wrong")[-1]
    assert wrong["total_tokens"] != wrong["prompt_tokens"] + wrong["completion_tokens"]


@pytest.mark.parametrize("script", ["ok_tools", "ok_tools_split"])
def test_v1_functions(emulator, token, script):
    functions = [{"name": name, "description": "d", "parameters": SCHEMA} for name in ("weather", "time")]
    whole = json.loads(chat(emulator, token, script, functions=functions)[2])
    first, last = documents(chat(emulator, token, script, functions=functions, stream=True)[2])
    for answer in (whole, first):
        call = answer["function_call"]
        assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "模拟 emulated"})
        assert call["thoughts"]
        assert (answer["result"], answer["finish_reason"]) == ("", "function_call")
    assert (last["is_end"], last["finish_reason"]) == (True, "function_call")
    assert "function_call" not in last
    choice = {"type": "function", "function": {"name": "time"}}
    forced = json.loads(chat(emulator, token, functions=functions, tool_choice=choice)[2])
    assert forced["function_call"]["name"] == "time"
    turns = [
        ASK,
        {"role": "assistant", "content": "", "function_call": call},
        {"role": "function", "name": "weather", "content": "{}"},
    ]
    final = json.loads(chat(emulator, token, script, functions=functions, messages=turns)[2])
    assert final["finish_reason"] == "normal"


def test_v1_every_code(emulator, token):
    for code, message in v1.FAILURES.items():
        for stream in (False, True):
            answer = chat(emulator, token, f"error={code}", stream=stream)
            assert v1_code(answer) == int(code)
            assert json.loads(answer[2])["error_msg"] == message
    assert emulator.counters.model("completions_pro").completed == 0


def test_v1_statuses_that_only_a_proxy_would_send(emulator, token):
    status, _, body = chat(emulator, token, "status=503")
    assert (status, json.loads(body)["error_code"]) == (503, 336100)
    status, _, body = chat(emulator, token, "status=401;error=111")
    assert (status, json.loads(body)["error_code"]) == (401, 111)
    status, headers, body = chat(emulator, token, "retry_after=2")
    assert (status, headers["retry-after"], json.loads(body)["error_code"]) == (200, "2", 336501)
    status, _, body = chat(emulator, token, "error=server_error")
    assert status == 400
    assert "336100" in json.loads(body)["error_msg"]


def test_v1_conditions(emulator, token):
    assert [v1_code(chat(emulator, token, "fail_first=1")) for _ in range(2)] == [336000, None]
    assert [v1_code(chat(emulator, token, "quota_after=1")) for _ in range(2)] == [None, 17]
    answers = [chat(emulator, token, "rate=1") for _ in range(2)]
    assert [v1_code(answer) for answer in answers] == [None, 336501]
    assert [answer[1]["x-ratelimit-remaining-requests"] for answer in answers] == ["0", "0"]


def test_v1_models_are_their_paths(emulator, token):
    assert chat(emulator, token, path=quote("status=502;error=4"))[0] == 502
    assert v1_code(chat(emulator, token, path="my_own_service")) is None
    assert v1_code(chat(emulator, token, path="ERNIE-4.0-8K")) == 3
    assert v1_code(chat(emulator, token, path="")) == 3
    assert v1_code(request(emulator, "POST", f"{SERVICE}/embeddings/bge", {})) == 3
    assert v1_code(request(emulator, "GET", f"{SERVICE}/chat/completions")) == 336101
    assert set(emulator.counters.models) == {"oauth", "status=502;error=4", "my_own_service"}
    assert request(emulator, "POST", "/oauth/2.0/other")[0] == 404
    assert request(emulator, "PUT", "/oauth/2.0/token")[0] == 405


def test_v1_refused_requests_are_attempts(emulator, token):
    answer = chat(emulator, token, messages=[ASK, ASK])
    assert v1_code(answer) == 336003
    assert json.loads(answer[2])["error_msg"] == "messages length must be odd"
    tally = emulator.counters.model("completions_pro")
    assert (tally.attempts, tally.completed) == (1, 0)
    assert emulator.counters.key("ak-test").attempts == 1


# Qianfan V2


def test_v2_with_the_openai_sdk(emulator):
    messages = [ASK]
    tools = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    with openai.OpenAI(api_key=KEY, base_url=f"{emulator.url}/v2", max_retries=0, timeout=20) as client:
        whole = client.chat.completions.create(model="ernie-4.0-8k", messages=messages)
        assert whole.id.startswith("as-")
        assert whole.choices[0].finish_reason == "stop"
        options = {"include_usage": True}
        with client.chat.completions.create(
            model="ernie-4.0-8k", messages=messages, stream=True, stream_options=options
        ) as stream:
            chunks = list(stream)
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
        assert said == whole.choices[0].message.content
        assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
        for script in ("ok_tools", "ok_tools_split"):
            extra = {"X-Emulate": script}
            with client.chat.completions.stream(
                model="m", messages=messages, tools=tools, extra_headers=extra
            ) as events:
                answer = events.get_final_completion()
            assert answer.choices[0].finish_reason == "tool_calls"
            assert answer.choices[0].message.tool_calls[0].function.name == "weather"
        assert {model.id for model in client.models.list()} >= {"ernie-4.0-8k", "slow"}
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(
                model="m", messages=messages, extra_headers={"X-Emulate": "error=user_rate_limit_exceeded"}
            )
    assert emulator.counters.key(KEY).completed == 4


def test_v2_marks(emulator):
    def choices(script: str) -> list[dict]:
        whole = json.loads(qianfan(emulator, script)[2])["choices"][0]
        return [whole, documents(qianfan(emulator, script, stream=True)[2])[-1]["choices"][0]]

    for choice in choices("ok"):
        assert (choice["flag"], choice["need_clear_history"], choice["ban_round"]) == (0, False, 0)
    for choice in choices("need_clear_history"):
        assert (choice["flag"], choice["need_clear_history"], choice["ban_round"]) == (2, True, -1)
    for choice in choices("finish=normal"):
        assert choice["finish_reason"] == "normal"
    thought = json.loads(qianfan(emulator, "ok_reasoning")[2])
    assert thought["choices"][0]["message"]["reasoning_content"]
    assert thought["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    _, headers, _ = qianfan(emulator)
    assert {"x-ratelimit-limit-requests", "x-ratelimit-limit-tokens", "x-baidu-request-id"} <= set(headers)
    limited = json.loads(qianfan(emulator, max_tokens=50, max_completion_tokens=2)[2])
    assert (limited["usage"]["completion_tokens"], limited["choices"][0]["finish_reason"]) == (2, "length")


def test_v2_usage_in_streams(emulator):
    def usages(script: str = "tokens=100/40;chunks=2", **options: bool) -> list:
        chunks = documents(qianfan(emulator, script, stream=True, stream_options=options)[2])
        return [
            chunk["usage"]["total_tokens"] if chunk.get("usage") else chunk.get("usage", "absent") for chunk in chunks
        ]

    assert usages() == ["absent"] * 4
    assert usages(include_usage=True) == [None] * 4 + [140]
    assert usages(chunk_include_usage=True) == [100, 120, 140, 140]
    assert usages(include_usage=True, chunk_include_usage=True) == [100, 120, 140, 140, 140]
    assert usages("tokens=1/1;chunks=2;usage_missing", include_usage=True) == ["absent"] * 4
    assert usages("tokens=1/1;chunks=2;usage_last_content_chunk", include_usage=True) == [None, None, None, 2]


def test_v2_every_code_in_both_shapes(emulator):
    for name, failure in v2.FAILURES.items():
        for stream in (False, True):
            status, headers, body = qianfan(emulator, f"error={name}", stream=stream)
            assert status == failure.status
            if failure.shape == "headers":
                assert (body, headers["x-bce-error-code"]) == (b"", failure.code)
                continue
            assert headers["content-type"] == "application/json"
            answer = json.loads(body)
            fields = {"code": failure.code, "message": failure.message, "type": failure.type}
            assert answer["error"] == fields
            assert answer["id"].startswith("as-")
            flat = json.loads(qianfan(emulator, f"error=flat_{name}", stream=stream)[2])
            assert fields.items() < flat.items()
    assert emulator.counters.model("ernie-4.0-8k").completed == 0


def test_v2_statuses(emulator):
    for status in (400, 401, 403, 404, 429, 500, 503):
        found, _, body = qianfan(emulator, f"status={status}")
        assert (found, set(json.loads(body))) == (status, {"error", "id"})
    assert qianfan(emulator, "error=429")[0] == 429
    assert qianfan(emulator, "error=internal_error;status=200")[0] == 200
    status, headers, _ = qianfan(emulator, "retry_after=3")
    assert (status, headers["retry-after"]) == (429, "3")
    assert [qianfan(emulator, "quota_after=1")[0] for _ in range(2)] == [200, 403]


@pytest.mark.parametrize(
    "key", ["", "Bearer", "Bearer sk-x", "Bearer ak-test:sk-test", "Basic x", "Bearer bce-v3/ALTAK-invalid/x", KEY]
)
def test_v2_keys(emulator, key):
    body = {"model": "m", "messages": [ASK]}
    status, _, answer = request(emulator, "POST", "/v2/chat/completions", body, Authorization=key)
    assert (status, json.loads(answer)["error"]["code"]) == (401, "invalid_iam_token")
    assert request(emulator, "GET", "/v2/models", Authorization=key)[0] == 401
    assert emulator.counters.model("m").attempts == 1


def test_v2_apps_and_paths(emulator):
    body = {"model": "m", "messages": [ASK]}
    headers = {"Authorization": f"Bearer {KEY}"}
    status, _, answer = request(emulator, "POST", "/v2/chat/completions", body, **headers, appid="app-wrong")
    assert (status, json.loads(answer)["error"]["code"]) == (401, "invalid_appid")
    assert request(emulator, "POST", "/v2/chat/completions", body, **headers, appid="app-1")[0] == 200
    status, _, answer = request(emulator, "GET", "/v2/chat/completions", **headers)
    assert (status, json.loads(answer)["error"]["code"]) == (405, "method_not_supported")
    assert request(emulator, "POST", "/v2/embeddings", {}, **headers)[0] == 404
    assert request(emulator, "POST", "/v2/models", {}, **headers)[0] == 405
    assert qianfan(emulator, "nonsense")[0] == 400
    status, _, answer = qianfan(emulator, penalty_score=0.5)
    assert (status, json.loads(answer)["error"]["code"]) == (400, "invalid_argument")


# Both: odd forms and faults


def said_v1(body: bytes) -> str:
    return "".join(frame["result"] for frame in documents(body))


def said_v2(body: bytes) -> str:
    return "".join(choice["delta"].get("content", "") for chunk in documents(body) for choice in chunk["choices"])


@pytest.fixture(params=["v1", "v2"])
def stream(request: pytest.FixtureRequest, emulator: Emulator):
    """Calls one of the two for a stream under a script; gives its answer and the text in it."""
    token = fetch(emulator)["access_token"]

    def v1_stream(script: str):
        answer = chat(emulator, token, script, stream=True)
        return answer, said_v1

    def v2_stream(script: str):
        return qianfan(emulator, script, stream=True), said_v2

    return v1_stream if request.param == "v1" else v2_stream


@pytest.mark.parametrize(
    "script",
    [
        "ok_crlf",
        "ok_no_space_after_colon",
        "ok_comments;ttft=5",
        "ok_utf8_split",
        "drip_1_byte",
        "slow_headers;chunk_interval=1",
        "ttft=1;chunk_interval=1;latency=1",
        "empty_deltas",
    ],
)
def test_odd_forms_say_the_same(stream, script):
    (_, _, plain), said = stream("ok")
    (status, _, odd), _ = stream(script)
    assert status == 200
    assert said(odd) == said(plain)


def test_errors_inside_a_stream_are_lines_of_json(stream):
    for script in ("error_in_stream", "error_in_stream_then_done"):
        (status, headers, body), said = stream(script)
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert said(body)
        *_, line = [line for line in body.decode().splitlines() if line and not line.startswith("data:")]
        assert {"error_code", "error"} & set(json.loads(line))
    assert b'is_end":true' not in body


@pytest.mark.parametrize("script", ["cut_after=0", "cut_after=2", "cut_mid_json", "cut_mid_utf8", "half_close"])
def test_cut_streams(stream, script):
    with pytest.raises(http.client.IncompleteRead) as caught:
        stream(script)
    found = caught.value.partial
    assert b"[DONE]" not in found
    assert b'"is_end":true' not in found


def test_a_clean_end_without_finish(stream):
    (status, headers, body), said = stream("fin_without_done")
    assert (status, headers["connection"]) == (200, "close")
    assert said(body)
    assert b'"is_end":true' not in body
    assert b'"finish_reason":"stop"' not in body


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("html_502", 502),
        ("empty_200", 200),
        ("json_string_401", 401),
        ("gzip_bomb", 200),
        ("deep_json", 200),
        ("redirect_to_other_host", 307),
        ("json_on_stream", 200),
        ("bad_content_length", 200),
        ("garbage", None),
        ("reset_before_headers", None),
        ("reset_after_headers", None),
    ],
)
def test_faults(stream, script, expected):
    if expected is not None:
        (status, _, _), _ = stream(script)
        assert status == expected
        return
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        stream(script)


def test_a_redirect_takes_the_token_along(emulator, token):
    _, headers, _ = chat(emulator, token, "redirect_to_other_host")
    assert headers["location"].endswith(f"/chat/completions_pro?access_token={quote(token)}")


def test_hanging_calls_are_counted_when_the_caller_leaves(emulator, token):
    head = f"POST {SERVICE}/chat/slow?access_token={token} HTTP/1.1\r\nHost: x\r\nContent-Length: "
    body = json.dumps({"messages": [ASK]}).encode()
    with connect(emulator) as peer:
        peer.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
        eventually(lambda: emulator.counters.model("slow").in_flight == 1)
    eventually(lambda: emulator.counters.model("slow").disconnected == 1)


def eventually(is_true) -> None:
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
