"""The official `openai` SDK, unchanged, against a running server."""

from collections.abc import Iterator

import openai
import pytest
from gateway import ADMIN_KEY, Gateway, behaving
from pydantic import BaseModel

from dujiang.emulator.server import Emulator

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
HELLO = [{"role": "user", "content": "你好，世界"}]


pytestmark = pytest.mark.usefixtures("restored")


@pytest.fixture(scope="module")
def sdk(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=ADMIN_KEY, max_retries=0) as client:
        yield client


def test_chat(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model="gpt-4", messages=HELLO, temperature=0.5, max_tokens=50)
    assert answer.object == "chat.completion"
    assert answer.model == "gpt-4-0613"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer.model_extra["dujiang"]["provider"] == "openai"


def test_an_answer_can_be_sent_back(sdk: openai.OpenAI, emulator: Emulator) -> None:
    with behaving(emulator, "gpt-4-0613", "ok_tools"):
        first = sdk.chat.completions.create(model="gpt-4", messages=HELLO, tools=[WEATHER])
    message = first.choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    again = sdk.chat.completions.create(model="gpt-4", messages=[*HELLO, message, result], tools=[WEATHER])
    assert again.choices[0].message.content


def test_stream(sdk: openai.OpenAI) -> None:
    chunks = list(sdk.chat.completions.create(model="gpt-4", messages=HELLO, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    assert {chunk.model for chunk in chunks} == {"gpt-4-0613"}


def test_stream_with_usage(sdk: openai.OpenAI) -> None:
    options = {"include_usage": True}
    *chunks, last = sdk.chat.completions.create(model="gpt-4", messages=HELLO, stream=True, stream_options=options)
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == []
    assert last.usage.total_tokens > 0


def test_stream_helper_with_tools(sdk: openai.OpenAI, emulator: Emulator) -> None:
    with (
        behaving(emulator, "gpt-4-0613", "ok_tools_split"),
        sdk.chat.completions.stream(model="gpt-4", messages=HELLO, tools=[WEATHER]) as stream,
    ):
        final = stream.get_final_completion()
    call = final.choices[0].message.tool_calls[0]
    assert call.function.name == "weather"
    assert "city" in call.function.arguments
    assert final.choices[0].finish_reason == "tool_calls"


def test_structured_output(sdk: openai.OpenAI) -> None:
    class Event(BaseModel):
        name: str
        day: str
        guests: list[str]

    answer = sdk.chat.completions.parse(model="gpt-4", messages=HELLO, response_format=Event)
    assert isinstance(answer.choices[0].message.parsed, Event)


def test_extra_body_reaches_scenes_and_users(sdk: openai.OpenAI) -> None:
    extra = {"prompt_id": "scene_1", "variables": {"company": "都江"}, "user_info": {"user_role": "guest"}}
    answer = sdk.chat.completions.create(model="lab-7b", messages=HELLO, extra_body=extra)
    plain = sdk.chat.completions.create(model="lab-7b", messages=HELLO)
    assert answer.usage.prompt_tokens > plain.usage.prompt_tokens
    with pytest.raises(openai.PermissionDeniedError):
        sdk.chat.completions.create(model="gpt-4", messages=HELLO, extra_body=extra)


def test_models(sdk: openai.OpenAI) -> None:
    assert {"gpt-4", "lab-7b", "gpt-4-turbo"} <= {model.id for model in sdk.models.list()}
    assert sdk.models.retrieve("gpt-4").id == "gpt-4"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("gpt-99")


@pytest.mark.parametrize(
    ("behaviour", "error", "code"),
    [
        ("error=context_length_exceeded", openai.BadRequestError, "context_length_exceeded"),
        ("error=rate_limit_exceeded", openai.RateLimitError, "rate_limit_exceeded"),
        ("error=invalid_api_key", openai.InternalServerError, "upstream_bad_credential"),
        ("error=insufficient_quota", openai.InternalServerError, "upstream_out_of_quota"),
        ("status=500", openai.InternalServerError, "upstream_error"),
    ],
)
def test_error_classes(
    sdk: openai.OpenAI, emulator: Emulator, behaviour: str, error: type[openai.APIStatusError], code: str
) -> None:
    with behaving(emulator, "gpt-4-0613", behaviour), pytest.raises(error) as raised:
        sdk.chat.completions.create(model="gpt-4", messages=HELLO)
    assert raised.value.code == code


def test_context_overflow_keeps_openais_words(sdk: openai.OpenAI, emulator: Emulator) -> None:
    with (
        behaving(emulator, "gpt-4-0613", "error=context_length_exceeded"),
        pytest.raises(openai.BadRequestError, match="This model's maximum context length is"),
    ):
        sdk.chat.completions.create(model="gpt-4", messages=HELLO)


def test_the_callers_own_mistakes(sdk: openai.OpenAI, gateway: Gateway) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.chat.completions.create(model="gpt-99", messages=HELLO)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError):
        sdk.chat.completions.create(model="gpt-4", messages=[])
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="dj-wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError, match="Incorrect API key provided") as refused,
    ):
        stranger.chat.completions.create(model="gpt-4", messages=HELLO)
    assert refused.value.code == "invalid_api_key"


def test_a_cut_stream_ends_in_an_error(sdk: openai.OpenAI, emulator: Emulator) -> None:
    with behaving(emulator, "gpt-4-0613", "cut_after=3"):
        stream = sdk.chat.completions.create(model="gpt-4", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError):
            list(stream)
