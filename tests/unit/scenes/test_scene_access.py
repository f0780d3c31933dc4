"""Whom a scene is for, and that it tells others nothing."""

import asyncio

import pytest

from dujiang.config.loader import read_document
from dujiang.core.call import Call, Caller, ClaimedUser, ParsedChat, SceneChoice
from dujiang.core.chat import ChatRequest, Chunk, Message
from dujiang.core.errors import Forbidden, NotFound
from dujiang.core.reply import WholeReply
from dujiang.identity.roles import compile_roles
from dujiang.identity.stage import admit
from dujiang.scenes.compiled import compile_scenes
from dujiang.scenes.stage import render

DOCUMENT = read_document(
    b"""
    scenes:
      open: {versions: [{version: 1}]}
      shop: {apps: ["shop-*", pos], labels: {production: 1}, versions: [{version: 1}, {version: 2, system: "{{x}}"}]}
      staff: {roles: [clerk, boss], versions: [{version: 1}]}
      both: {apps: [shop-1], roles: [clerk], versions: [{version: 1}]}
    apps: {shop-1: {unknown_role: guest}, narrow: {scenes: [open]}}
    roles:
      admin: {permissions: ["*"]}
      clerk: {permissions: ["chat:call"]}
      boss: {permissions: ["chat:call"]}
      guest: {permissions: ["chat:call"]}
      auditor: {permissions: ["records:read"]}
      visitor: {permissions: ["chat:call"], scenes: [open]}
    """
)
TABLE = compile_roles(DOCUMENT.roles, DOCUMENT.apps)
SCENES = compile_scenes(DOCUMENT.scenes)


def ask(prompt_id, app="shop-1", roles=("clerk",), claimed=None):
    name, _, version = prompt_id.partition("@")
    choice = SceneChoice(name, version=int(version) if version else None)
    request = ChatRequest("m", [Message("user", "hi")])
    call = Call("id", "chat", lambda body: call.parsed, Caller("k", app, roles), 0.0, 1.0, 1)
    call.request = request
    call.parsed = ParsedChat(request, ClaimedUser(user_role=claimed), choice)

    async def handler(call):
        return WholeReply(Chunk(text="x", finish="stop"))

    async def run():
        return await admit(TABLE, "chat:call")(render(SCENES)(handler))(call)

    return asyncio.run(run())


@pytest.mark.parametrize(
    "call",
    [
        ("open", "anything", ("guest",)),
        ("shop", "shop-1", ("guest",)),
        ("shop", "shop-22", ("guest",)),
        ("shop", "pos", ("guest",)),
        ("staff", "anything", ("guest", "boss")),
        ("staff", "anything", ("clerk",), "boss"),
        ("staff", "anything", ("admin",)),
        ("staff", "admin", ("admin",), "clerk"),
        ("both", "shop-1", ("clerk",), "clerk"),
        ("open", "narrow", ("visitor",)),
    ],
)
def test_lets_in_whom_it_is_for(call):
    ask(*call)


@pytest.mark.parametrize(
    ("call", "whom"),
    [
        (("shop", "shop", ("admin",)), "this app"),
        (("shop", "", ("clerk",)), "this app"),
        (("staff", "anything", ("guest",)), "the roles of this call"),
        (("staff", "admin", ("admin",), "guest"), "the roles of this call"),
        (("staff", "anything", ("clerk",), "guest"), "the roles of this call"),
        (("staff", "shop-1", ("clerk",), "emperor"), "the roles of this call"),
        (("both", "shop-2", ("clerk",)), "this app"),
        (("both", "shop-1", ("boss",)), "the roles of this call"),
        (("shop", "narrow", ("clerk",)), "do not allow the scene `shop`"),
        (("shop", "shop-1", ("visitor",)), "do not allow the scene `shop`"),
    ],
)
def test_refuses_others_with_the_reason(call, whom):
    with pytest.raises(Forbidden, match=whom) as error:
        ask(*call)
    assert (error.value.reason, error.value.param) == ("scene", "parameters.prompt_id")


def test_a_claim_does_not_widen_what_the_key_may_use():
    with pytest.raises(Forbidden):
        ask("staff", "anything", ("guest",), "clerk")


def test_a_role_that_may_not_chat_lends_no_scene():
    with pytest.raises(Forbidden):
        ask("staff", "anything", ("guest", "auditor"), None)


def test_whoever_is_not_let_in_learns_nothing_of_versions_and_variables():
    answers = set()
    for prompt_id in ("shop@1", "shop@2", "shop@9"):
        with pytest.raises(Forbidden) as error:
            ask(prompt_id, "other")
        answers.add(error.value.message)
    assert len(answers) == 1
    with pytest.raises(NotFound):
        ask("nowhere", "other")
