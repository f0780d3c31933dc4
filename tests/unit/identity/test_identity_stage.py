"""The gates of the pipeline."""

import asyncio

import pytest

from dujiang.core.call import Call, Caller, ClaimedUser, ParsedChat, SceneChoice
from dujiang.core.chat import ChatRequest, Chunk, Message
from dujiang.core.errors import Forbidden, InvalidRequest
from dujiang.core.reply import WholeReply
from dujiang.identity.roles import compile_roles
from dujiang.identity.settings import AppSettings, LimitSettings, RoleSettings
from dujiang.identity.stage import admit, authorise

TABLE = compile_roles(
    {
        "admin": RoleSettings(permissions=("*",)),
        "user": RoleSettings(permissions=("chat:call",), models=("lab-7b", "auto:*"), scenes=("scene_1",)),
        "guest": RoleSettings(permissions=("chat:call",), models=("local",), limits=LimitSettings(max_tokens=256)),
        "reader": RoleSettings(permissions=("records:read",)),
    },
    {"shop": AppSettings(models=("lab-7b",))},
)
ANSWER = WholeReply(Chunk(text="ok", finish="stop"))


async def answer(call):
    return ANSWER


def make_call(
    *, role="admin", app="admin", user=None, act_as_user=True, scene=None, rendered=None, model="local", **tokens
):
    asked = ChatRequest(model=model, messages=[Message(role="user", content="你好")], **tokens)
    caller = Caller(key_id="k", app=app, roles=(role,), act_as_user=act_as_user)
    call = Call("id", "chat", lambda body: None, caller, 0.0, 60.0, 1)  # pyright: ignore[reportArgumentType]
    call.parsed = ParsedChat(request=asked, user=user or ClaimedUser())
    call.request = asked if rendered is None else rendered(asked)
    call.scene = SceneChoice(id=scene) if scene else None
    return call


def through(call, *, permission="chat:call", aliases=None):
    gate = authorise() if aliases is None else authorise(aliases)
    handler = admit(TABLE, permission)(gate(answer))

    async def run():
        return await handler(call)

    assert asyncio.run(run()) is ANSWER
    return call.request


def test_the_admin_passes_with_the_request_untouched():
    call = make_call(model="anything", scene="any", max_tokens=100_000)
    request = call.request
    assert through(call) is request
    assert "chat:call" in call.rights.permissions


def test_the_permission_that_lacks_is_named():
    with pytest.raises(Forbidden, match="`chat:call`") as caught:
        through(make_call(role="reader"))
    assert caught.value.reason == "permission"
    through(make_call(role="reader"), permission="records:read")


def test_a_claimed_role_counts():
    with pytest.raises(Forbidden, match="`chat:call`"):
        through(make_call(user=ClaimedUser(user_role="reader")))
    with pytest.raises(Forbidden, match="`root`"):
        through(make_call(user=ClaimedUser(user_role="root")))


def test_a_key_that_may_not_act_for_users():
    through(make_call(user=ClaimedUser(user_id="u1")))
    through(make_call(act_as_user=False))
    with pytest.raises(Forbidden) as caught:
        through(make_call(act_as_user=False, user=ClaimedUser(user_id="u1")))
    assert caught.value.param == "user_info.user_id"


@pytest.mark.parametrize(
    ("call", "model"),
    [
        ({"role": "guest", "model": "gpt-4"}, "gpt-4"),
        ({"role": "user", "app": "shop", "model": "auto"}, "auto"),
        ({"role": "admin", "app": "shop", "model": "auto:chinese"}, "auto:chinese"),
        ({"role": "user", "model": "lab-7b "}, "lab-7b "),
    ],
)
def test_a_model_outside_the_rights_is_named(call, model):
    with pytest.raises(Forbidden, match=f"`{model}`") as caught:
        through(make_call(**call))
    assert caught.value.param == "model"


@pytest.mark.parametrize("model", ["lab-7b", "auto", "auto:chinese", "house"])
def test_models_and_routes_inside_the_rights_pass(model):
    through(make_call(role="user", model=model), aliases={"house": "lab-7b"})


def test_an_alias_counts_as_its_target_only():
    with pytest.raises(Forbidden, match="`lab-7b`"):
        through(make_call(role="user", model="lab-7b"), aliases={"lab-7b": "gpt-4"})


def test_the_model_of_a_scene_is_judged_not_the_one_asked_for():
    def render(request):
        return ChatRequest(model="gpt-4", messages=request.messages)

    with pytest.raises(Forbidden, match="`gpt-4`"):
        through(make_call(role="user", model="lab-7b", scene="scene_1", rendered=render))


@pytest.mark.parametrize(
    "tokens", [{"max_tokens": 257}, {"max_completion_tokens": 257}, {"max_tokens": 1, "max_completion_tokens": 300}]
)
def test_asking_for_more_tokens_than_allowed_names_the_limit(tokens):
    with pytest.raises(InvalidRequest, match="at most 256") as caught:
        through(make_call(role="guest", **tokens))
    assert caught.value.param == "parameters.max_tokens"


@pytest.mark.parametrize(
    "tokens", [{"max_tokens": 256}, {"max_completion_tokens": 1}, {"max_tokens": 5, "max_completion_tokens": 256}]
)
def test_asking_for_what_is_allowed_changes_nothing(tokens):
    call = make_call(role="guest", **tokens)
    request = call.request
    assert through(call) is request


def test_asking_for_no_number_means_the_limit():
    call = make_call(role="guest")
    asked = call.parsed.request
    assert through(call).max_tokens == 256
    assert asked.max_tokens is None


def test_what_a_scene_asks_beyond_the_limit_becomes_the_limit():
    def render(request):
        return ChatRequest(model="local", messages=request.messages, max_completion_tokens=1000)

    request = through(make_call(role="guest", scene="any", rendered=render))
    assert (request.max_tokens, request.max_completion_tokens) == (256, None)
