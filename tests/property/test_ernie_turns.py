"""Any conversation becomes what ERNIE V1 accepts without losing a word, or is refused as the caller's mistake."""

from hypothesis import given
from hypothesis import strategies as st

from dujiang.core.chat import Message
from dujiang.core.errors import InvalidRequest
from dujiang.providers.ernie.turns import BEFORE, GO_ON, to_turns

BLANK = " \n\r\t\f\v"

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
parts = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}), max_size=3)
plain = st.builds(Message, st.sampled_from(["system", "developer", "user", "assistant"]), texts | parts)
call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"成都"}'}}
calling = st.builds(Message, st.just("assistant"), st.none() | texts, tool_calls=st.just([call]))
result = st.builds(Message, st.just("tool"), texts, tool_call_id=st.sampled_from(["c1", "c2"]))
conversations = st.lists(plain | calling | result, max_size=8)


def said(message: Message) -> list[str]:
    content = message.content
    return [content] if isinstance(content, str) else [part["text"] for part in content or []]


def is_accepted(turns: list) -> bool:
    """The rules of V1, as its documentation states them."""
    return (
        len(turns) % 2 == 1
        and all(turn.role in ("user", "function") for turn in turns[::2])
        and all(turn.role == "assistant" for turn in turns[1::2])
        and all(turn.name for turn in turns if turn.role == "function")
        and all(turn.content.strip(BLANK) or turn.function_call for turn in turns)
    )


@given(conversations)
def test_turned_or_refused(messages: list[Message]) -> None:
    try:
        system, turns = to_turns(messages)
    except InvalidRequest as refused:
        assert refused.param
        return
    assert is_accepted(turns)
    whole = "\n".join([system or "", *(turn.content for turn in turns)])
    for message in messages:
        for text in said(message):
            assert text.strip(" \n\r\t\f\v") in whole
    assert [turn.function_call["name"] for turn in turns if turn.function_call] == [
        "weather" for message in messages if message.tool_calls
    ]


@given(
    st.lists(
        st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.text("甲乙丙", min_size=1)), min_size=1
    )
)
def test_plain_conversations_with_a_word_in_each_message_are_never_refused(messages: list[Message]) -> None:
    if all(message.role == "system" for message in messages):
        return
    system, turns = to_turns(messages)
    assert is_accepted(turns)
    spoken = "".join(said(message)[0] for message in messages if message.role != "system")
    assert "".join(turn.content for turn in turns).replace("\n", "").replace(BEFORE, "").replace(GO_ON, "") == spoken
    assert (system or "").replace("\n", "") == "".join(said(m)[0] for m in messages if m.role == "system")
