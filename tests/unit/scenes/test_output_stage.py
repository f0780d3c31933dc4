"""Answers to a scene with an output schema: parsed, repaired once, or refused."""

import asyncio
import json
from time import monotonic

import msgspec
import pytest
from budgeted import budgets_of, fresh_accounts
from targets import a_model, a_target

from dujiang.chat.dispatch import dispatch
from dujiang.core.call import Call, Caller, ClaimedUser, One, ParsedChat, Plan, Rights, SceneChoice
from dujiang.core.chat import ChatRequest, Chunk, Message, Usage
from dujiang.core.errors import OutputInvalid, Timeout
from dujiang.core.money import Cost, Exchange
from dujiang.core.reply import WholeReply
from dujiang.scenes.compiled import compile_scenes
from dujiang.scenes.output import MAX_CHARS, bare_json
from dujiang.scenes.output_stage import check_output
from dujiang.scenes.settings import SceneSettings, VersionSettings

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
}
LISTS = {"type": "array", "items": {"type": "integer"}}
SCENES = compile_scenes(
    {
        "s": SceneSettings(
            versions=(
                VersionSettings(version=1, output_schema=SCHEMA),
                VersionSettings(version=2),
                VersionSettings(version=3, output_schema=LISTS),
                VersionSettings(version=4, output_schema={"multipleOf": 0.5}),
            )
        ),
        "plain": SceneSettings(versions=(VersionSettings(version=1),)),
    }
)
GOOD = '{"name": "李", "age": 3}'
USAGE = Usage(input_uncached=10, output_visible=5)


class Vendor:
    """A target that says one thing after another."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []
        self.replies = []

    async def __call__(self, call):
        self.requests.append(call.request)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        chunk = answer if isinstance(answer, Chunk) else Chunk(answer, "stop", USAGE, "served-1")
        reply = WholeReply(chunk)
        self.replies.append(reply)
        return reply


def ask(vendor, *, version=1, scene="s", stream=False, model="m"):
    request = ChatRequest(model, [Message("user", "hi")], stream=stream)
    call = Call("id", "chat", lambda body: call.parsed, Caller("k", "a", ()), 0.0, monotonic() + 9, 1)
    call.request = request
    call.parsed = ParsedChat(request, ClaimedUser())
    call.rights = Rights(frozenset())
    call.scene = SceneChoice(scene, version=version) if scene else None
    call.plan = Plan((One("m"),), "m", "named")
    target = a_target(vendor, "p/x", lambda usage: Cost(usage.prompt_tokens, "CNY", "v1", Exchange("CNY", "1")))
    models = {"m": a_model([target])}
    handler = check_output(SCENES)(dispatch(models, budgets_of(), fresh_accounts(), {}))

    async def run():
        reply = await handler(call)
        try:
            return [chunk async for chunk in reply]
        finally:
            reply.close()

    try:
        chunks = asyncio.run(run())
    finally:
        assert target.load.in_flight == 0
        assert call.request is request
        assert all(reply.is_closed for reply in vendor.replies)
    return call, chunks


@pytest.mark.parametrize(
    "text", [GOOD, f"  {GOOD}\n", f"```json\n{GOOD}\n```", f"```\n{GOOD}```\n", f"```json{GOOD}```"]
)
def test_a_good_answer_is_parsed(text):
    vendor = Vendor(text)
    call, [chunk] = ask(vendor)
    assert chunk.output == {"name": "李", "age": 3}
    assert (chunk.text, chunk.finish, chunk.usage, chunk.served) == (GOOD, "stop", USAGE, "served-1")
    assert [attempt.why for attempt in call.attempts] == ["first"]


@pytest.mark.parametrize(
    "bad", ["", "sorry", '{"name": "李"}', '{"name": 1, "age": 3}', f"{GOOD} {GOOD}", "[", '{"age": NaN}', "\ud800"]
)
def test_a_bad_answer_is_repaired_once(bad):
    vendor = Vendor(bad, GOOD)
    call, [chunk] = ask(vendor)
    assert chunk.output == {"name": "李", "age": 3}
    assert chunk.usage == Usage(input_uncached=20, output_visible=10)
    assert [(attempt.why, attempt.cost.amount_micros) for attempt in call.attempts] == [("first", 10), ("repair", 10)]
    first, second = vendor.requests
    assert [message.content for message in first.messages] == ["hi"]
    said = [message for message in second.messages if message.role == "assistant"]
    assert [message.content for message in said] == ([bad] if bad else [])
    assert "not valid" in second.messages[-1].content


def test_the_model_is_told_what_is_wrong_and_where():
    vendor = Vendor('{"name": 1, "age": -1}', GOOD)
    ask(vendor)
    told = vendor.requests[1].messages[-1].content
    assert "$.name: 1 is not of type 'string'" in told
    assert "$.age: -1 is less than the minimum of 0" in told


def test_two_bad_answers_are_an_error_that_quotes_neither():
    vendor = Vendor("secret words", '{"name": "secret", "age": "secret"}', GOOD)
    with pytest.raises(OutputInvalid, match="properties/age/type") as error:
        ask(vendor)
    assert "secret" not in error.value.message
    assert error.value.reason == "schema_mismatch"
    assert error.value.spent == Usage(input_uncached=20, output_visible=10)
    assert len(vendor.requests) == 2


def test_a_repair_that_fails_is_the_same_error_and_the_first_answer_is_paid():
    with pytest.raises(OutputInvalid, match="could not be repaired") as error:
        ask(Vendor("no", Timeout("too late")))
    assert (error.value.reason, error.value.spent) == ("not_json", USAGE)
    assert isinstance(error.value.__cause__, Timeout)


def test_an_error_of_the_first_asking_is_its_own():
    with pytest.raises(Timeout):
        ask(Vendor(Timeout("too late")))


def test_a_caller_who_leaves_during_the_repair_ends_it():
    with pytest.raises(asyncio.CancelledError):
        ask(Vendor("no", asyncio.CancelledError()))


def test_a_stream_is_asked_for_whole_and_comes_as_one_piece():
    vendor = Vendor("no", GOOD)
    _, [chunk] = ask(vendor, stream=True)
    assert chunk.output["age"] == 3
    assert [request.stream for request in vendor.requests] == [False, False]


def test_an_answer_that_calls_tools_is_not_the_last_word():
    calls = [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    _, [chunk] = ask(Vendor(Chunk("", "tool_calls", USAGE, tool_calls=calls)))
    assert (chunk.tool_calls, chunk.output) == (calls, msgspec.UNSET)


@pytest.mark.parametrize(("scene", "version"), [("s", 2), ("plain", 1), (None, None)])
def test_other_calls_pass_untouched(scene, version):
    vendor = Vendor("sorry")
    _, [chunk] = ask(vendor, scene=scene, version=version)
    assert (chunk.text, chunk.output) == ("sorry", msgspec.UNSET)
    assert vendor.requests[0].messages == [Message("user", "hi")]


def test_without_any_schema_the_stage_is_not_there():
    async def handler(call):
        return WholeReply(Chunk())

    assert (
        check_output(compile_scenes({"s": SceneSettings(versions=(VersionSettings(version=1),))}))(handler) is handler
    )


def test_a_long_answer_is_checked_too_and_one_too_long_is_not_looked_at():
    _, [chunk] = ask(Vendor(json.dumps(list(range(30_000)))), version=3)
    assert chunk.output[-1] == 29_999
    long = "[" + "1," * (MAX_CHARS // 2) + "1]"
    with pytest.raises(OutputInvalid, match="too long") as error:
        ask(Vendor(long, long), version=3)
    assert error.value.reason == "too_long"


@pytest.mark.parametrize("hostile", ["[" * 100_000, "1" + "0" * 400, "1" * 10_000, "1e400", '"\\ud800"'])
def test_hostile_answers_are_only_bad_answers(hostile):
    for version in (1, 3):
        with pytest.raises(OutputInvalid):
            ask(Vendor(hostile, hostile), version=version)


def test_a_number_that_cannot_be_checked_is_a_bad_answer():
    with pytest.raises(OutputInvalid):
        ask(Vendor("1" + "0" * 400, "no"), version=4)


@pytest.mark.parametrize("text", ["```", "``````", "```\n```", "```json", "a```b```", "```json\nx", "x```"])
def test_odd_fences_do_no_harm(text):
    assert bare_json(text) in {text.strip(), "", "b"}
