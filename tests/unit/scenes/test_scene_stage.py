import asyncio
from typing import Any

import pytest

from dujiang.config.loader import read_document
from dujiang.core.call import Call, Caller, ClaimedUser, ParsedChat, Rights, SceneChoice
from dujiang.core.chat import ChatRequest, Chunk, Message
from dujiang.core.errors import AppError, InvalidRequest, NotFound, Unprocessable
from dujiang.core.reply import WholeReply
from dujiang.scenes.compiled import compile_scenes
from dujiang.scenes.settings import SceneSettings, VersionSettings
from dujiang.scenes.stage import render

SCENES = compile_scenes(
    read_document(
        b"""
        providers: {p: {kind: deepseek}}
        models: {able: {targets: [{provider: p, model: x}]}, local: {targets: [{provider: p, model: y}]}}
        scenes:
          greeting:
            versions:
              - {version: 1, system: "Old."}
              - {version: 2, system: "Hello {{name}}, {{name}}!", variables: {name: {default: you}}}
              - {version: 3, system: "New."}
            labels: {production: 2, staging: 3}
          newest:
            versions: [{version: 1, system: "1"}, {version: 10, system: "10"}, {version: 9, system: "9"}]
          typed:
            versions:
              - version: 1
                system: "{{word}} {{count}} {{ratio}} {{flag}}"
                messages: [{role: user, content: "Q {{word}}"}, {role: assistant, content: A}]
                variables:
                  word: {max_length: 5}
                  count: {type: integer, minimum: 1, maximum: 9, default: 3}
                  ratio: {type: number, minimum: 0, default: 0.5}
                  flag: {type: boolean, default: true}
          choice:
            versions: [{version: 1, system: "{{tone}}", variables: {tone: {enum: [warm, cool]}}}]
          bare:
            versions: [{version: 1, system: "{{undeclared}}"}]
          locked:
            versions: [{version: 1, model: local, parameters: {temperature: 0.2, max_tokens: 300, stop: [a, b]}}]
          schema:
            versions:
              - {version: 1, output_schema: {type: object}}
              - {version: 2, system: "Be brief.", model: able, output_schema: {type: object}}
              - {version: 3, system: "Be {{how}}.", output_schema: {type: object}}
          strict:
            versions:
              - version: 1
                parameters: {temperature: 0.2, max_tokens: 300, stop: [a, b]}
                locks: [temperature, max_tokens, stop, seed, tools]
        """
    ).scenes
)
CALLER = Caller(key_id="k", app="a", roles=())


def rendered(choice: SceneChoice | None, *, model: str = "gpt-4", **request: Any) -> Call:
    asked = ChatRequest(model=model, messages=[Message("user", "hi {{name}}")], **request)
    call = Call("id", "chat", lambda body: call.parsed, CALLER, 0.0, 1.0, 1)
    call.request = asked
    call.rights = Rights(frozenset())
    call.parsed = ParsedChat(request=asked, user=ClaimedUser(), scene=choice)
    seen: list[Call] = []

    async def handler(call: Call) -> WholeReply:
        seen.append(call)
        return WholeReply(Chunk(text="x", finish="stop"))

    async def run() -> None:
        await render(SCENES, {"able"})(handler)(call)

    asyncio.run(run())
    assert seen == [call]
    return call


def texts(call: Call) -> list[tuple[str, Any]]:
    return [(message.role, message.content) for message in call.request.messages]


def refused(choice: SceneChoice, **request: Any) -> AppError:
    with pytest.raises(AppError) as error:
        rendered(choice, **request)
    return error.value


def test_a_call_without_a_scene_passes_untouched():
    call = rendered(None)
    assert call.request is call.parsed.request
    assert call.scene is None


def test_the_scene_speaks_first_and_the_caller_is_never_a_template():
    call = rendered(SceneChoice("greeting"))
    assert texts(call) == [("system", "Hello you, you!"), ("user", "hi {{name}}")]
    assert call.scene == SceneChoice("greeting", version=2)
    assert call.parsed.request.messages == [Message("user", "hi {{name}}")]


@pytest.mark.parametrize(
    ("choice", "system"),
    [
        (SceneChoice("greeting", version=1), "Old."),
        (SceneChoice("greeting", version=3), "New."),
        (SceneChoice("greeting", label="staging"), "New."),
        (SceneChoice("greeting", label="production"), "Hello you, you!"),
        (SceneChoice("newest"), "10"),
    ],
)
def test_a_version_a_label_or_else_production_or_else_the_highest(choice, system):
    assert texts(rendered(choice))[0] == ("system", system)


def test_values_are_written_as_people_write_them():
    call = rendered(SceneChoice("typed", variables={"word": "词", "ratio": 2.0, "flag": False}))
    assert texts(call)[:3] == [("system", "词 3 2 false"), ("user", "Q 词"), ("assistant", "A")]


def test_a_value_is_never_expanded_again():
    call = rendered(SceneChoice("greeting", variables={"name": "{{name}} {{7*7}} ${HOME}"}))
    assert texts(call)[0][1] == "Hello {{name}} {{7*7}} ${HOME}, {{name}} {{7*7}} ${HOME}!"


def test_a_place_without_a_declaration_is_a_required_text():
    assert texts(rendered(SceneChoice("bare", variables={"undeclared": "x"})))[0][1] == "x"
    assert refused(SceneChoice("bare")).param == "parameters.variables.undeclared"


def test_the_scenes_model_is_locked_and_its_parameters_are_defaults():
    request = rendered(SceneChoice("locked")).request
    assert (request.model, request.temperature, request.max_tokens) == ("local", 0.2, 300)
    assert list(request.stop or ()) == ["a", "b"]
    request = rendered(SceneChoice("locked"), temperature=0.0, max_tokens=5, stop="c").request
    assert (request.model, request.temperature, request.max_tokens, request.stop) == ("local", 0.0, 5, "c")
    assert rendered(SceneChoice("greeting")).request.model == "gpt-4"


def test_the_newer_name_of_max_tokens_counts_as_set():
    request = rendered(SceneChoice("locked"), max_completion_tokens=5).request
    assert (request.max_tokens, request.max_completion_tokens) == (None, 5)


@pytest.mark.parametrize(
    ("name", "value", "param"),
    [
        ("temperature", 0.3, "temperature"),
        ("max_tokens", 301, "max_tokens"),
        ("max_completion_tokens", 5, "max_tokens"),
        ("stop", ["a"], "stop"),
        ("seed", 0, "seed"),
        ("tools", [{}], "tools"),
        ("extra", {"functions": [{}]}, "tools"),
    ],
)
def test_a_locked_parameter_is_refused_by_name(name, value, param):
    error = refused(SceneChoice("strict"), **{name: value})
    assert (type(error), error.reason, error.param) == (Unprocessable, "locked_parameter", f"parameters.{param}")


def test_neither_name_of_a_locked_parameter_hides_the_other():
    assert refused(SceneChoice("strict"), max_tokens=300, max_completion_tokens=999).param == "parameters.max_tokens"
    assert refused(SceneChoice("strict"), max_tokens=999, max_completion_tokens=300).param == "parameters.max_tokens"


def test_a_locked_parameter_may_be_said_again_and_others_are_free():
    request = rendered(SceneChoice("strict"), temperature=0.2, stop=["a", "b"], max_completion_tokens=300).request
    assert (request.temperature, request.stop, request.max_tokens) == (0.2, ["a", "b"], None)
    request = rendered(SceneChoice("strict"), top_p=0.5, extra={"logprobs": True}).request
    assert (request.temperature, request.max_tokens, request.top_p) == (0.2, 300, 0.5)


def test_a_schema_goes_to_a_model_in_the_form_that_it_understands():
    form = {"type": "json_schema", "json_schema": {"name": "output", "schema": {"type": "object"}}}
    able = rendered(SceneChoice("schema", version=1), model="able")
    assert able.request.response_format == form
    assert texts(able) == [("user", "hi {{name}}")]
    by_scene = rendered(SceneChoice("schema", version=2))
    assert (by_scene.request.model, by_scene.request.response_format) == ("able", form)
    assert texts(by_scene)[0] == ("system", "Be brief.")
    told = rendered(SceneChoice("schema", version=3, variables={"how": "{{brief}}"}))
    assert told.request.response_format is None
    role, text = texts(told)[0]
    assert role == "system"
    assert text.startswith("Be {{brief}}.\n\nAnswer with one JSON value")
    assert text.endswith('{"type":"object"}')
    assert texts(rendered(SceneChoice("schema", version=1)))[0][1].startswith("Answer with one JSON value")


def test_a_schema_locks_the_form_of_the_answer():
    error = refused(SceneChoice("schema", version=1), response_format={"type": "json_object"})
    assert (type(error), error.param) == (Unprocessable, "parameters.response_format")


@pytest.mark.parametrize(
    ("choice", "kind", "reason"),
    [
        (SceneChoice("nowhere"), NotFound, "unknown_scene"),
        (SceneChoice("场景"), NotFound, "unknown_scene"),
        (SceneChoice("greeting", version=4), NotFound, "unknown_scene_version"),
        (SceneChoice("greeting", version=0), NotFound, "unknown_scene_version"),
        (SceneChoice("greeting", label="beta"), NotFound, "unknown_scene_label"),
        (SceneChoice(""), InvalidRequest, "malformed_prompt_id"),
        (SceneChoice("../../etc/passwd"), InvalidRequest, "malformed_prompt_id"),
        (SceneChoice("greeting@3"), InvalidRequest, "malformed_prompt_id"),
        (SceneChoice("a\0b"), InvalidRequest, "malformed_prompt_id"),
        (SceneChoice("greeting\n"), InvalidRequest, "malformed_prompt_id"),
        (SceneChoice("x" * 65), InvalidRequest, "malformed_prompt_id"),
        (SceneChoice("greeting", label=""), InvalidRequest, "malformed_prompt_id"),
        (SceneChoice("greeting", label="a b"), InvalidRequest, "malformed_prompt_id"),
    ],
)
def test_refuses_what_does_not_exist(choice, kind, reason):
    error = refused(choice)
    assert type(error) is kind
    assert error.reason == reason
    assert error.param == "parameters.prompt_id"


@pytest.mark.parametrize(
    ("choice", "variable", "message"),
    [
        (SceneChoice("typed"), "word", "is required"),
        (SceneChoice("typed", variables={"word": 1}), "word", "must be a string"),
        (SceneChoice("typed", variables={"word": None}), "word", "must be a string"),
        (SceneChoice("typed", variables={"word": "123456"}), "word", "at most 5 characters"),
        (SceneChoice("typed", variables={"word": "a", "count": "1"}), "count", "must be an integer"),
        (SceneChoice("typed", variables={"word": "a", "count": True}), "count", "must be an integer"),
        (SceneChoice("typed", variables={"word": "a", "count": 1.0}), "count", "must be an integer"),
        (SceneChoice("typed", variables={"word": "a", "count": 10**5000}), "count", "must be an integer"),
        (SceneChoice("typed", variables={"word": "a", "count": 0}), "count", "at least 1"),
        (SceneChoice("typed", variables={"word": "a", "count": 10}), "count", "at most 9"),
        (SceneChoice("typed", variables={"word": "a", "ratio": float("nan")}), "ratio", "must be a number"),
        (SceneChoice("typed", variables={"word": "a", "ratio": -0.1}), "ratio", "at least 0"),
        (SceneChoice("typed", variables={"word": "a", "flag": 1}), "flag", "must be true or false"),
        (SceneChoice("typed", variables={"word": "a", "extra": 1}), "extra", "no variable `extra`"),
        (SceneChoice("choice", variables={"tone": "hot"}), "tone", "one of `warm`, `cool`"),
        (SceneChoice("choice", variables={"tone": ["warm"]}), "tone", "must be a string"),
        (SceneChoice("locked", variables={"x": 1}), "x", "no variable"),
    ],
)
def test_refuses_bad_variables(choice, variable, message):
    error = refused(choice)
    assert type(error) is Unprocessable
    assert error.param == f"parameters.variables.{variable}"
    assert message in error.message


def test_refuses_to_grow_beyond_its_limit_before_it_does():
    scenes = compile_scenes({"s": SceneSettings(versions=(VersionSettings(version=1, system="{{x}}" * 10_000),))})
    version = scenes.by_id["s"].versions[1]
    with pytest.raises(Unprocessable, match="1048576 bytes"):
        version.messages({"x": "a" * 10_000_000})
    with pytest.raises(Unprocessable):
        version.messages({"x": "字" * 50})
    assert len(str(version.messages({"x": "字" * 30})[0].content)) == 300_000
