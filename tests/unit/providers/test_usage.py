"""A vendor's token counts become disjoint buckets that add up, or nothing."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dujiang.core.chat import ChatRequest, Message
from dujiang.core.errors import UpstreamError
from dujiang.providers.errors import NO_CODES
from dujiang.providers.openai_stream import OpenAIEvents
from dujiang.providers.openai_wire import estimate, read_completion
from dujiang.providers.usage import CompletionDetails, PromptDetails, VendorUsage, estimate_tokens, normalise

counts = st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5000)
usages = st.builds(
    VendorUsage,
    counts,
    counts,
    counts,
    st.none() | st.builds(PromptDetails, counts, counts),
    st.none() | st.builds(CompletionDetails, counts),
    counts,
    counts,
)


@given(usages)
def test_buckets_are_never_negative_and_add_up_to_the_vendors_totals(vendor: VendorUsage) -> None:
    usage = normalise(vendor)
    if usage is None:
        return
    buckets = (usage.input_uncached, usage.cache_read, usage.cache_write, usage.output_visible, usage.reasoning)
    assert all(0 <= bucket <= 10**12 for bucket in buckets)
    assert usage.prompt_tokens == vendor.prompt_tokens
    if vendor.completion_tokens is not None:
        assert usage.completion_tokens == vendor.completion_tokens
    else:
        assert vendor.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.source == "provider"


@given(
    prompt=st.integers(0, 10**6),
    completion=st.integers(0, 10**6),
    cached=st.integers(0, 10**6),
    thought=st.integers(0, 10**6),
)
def test_sane_numbers_are_kept(prompt: int, completion: int, cached: int, thought: int) -> None:
    cached, thought = min(cached, prompt), min(thought, completion)
    details = PromptDetails(cached), CompletionDetails(thought)
    usage = normalise(VendorUsage(prompt, completion, prompt + completion, *details))
    assert (usage.prompt_tokens, usage.cache_read) == (prompt, cached)
    assert (usage.completion_tokens, usage.reasoning) == (completion, thought)


@pytest.mark.parametrize(
    ("vendor", "expected"),
    [
        (VendorUsage(10, 5, 15), (10, 0, 0, 5, 0)),
        (VendorUsage(10, 5, 99), (10, 0, 0, 5, 0)),
        (VendorUsage(10, None, 15), (10, 0, 0, 5, 0)),
        (VendorUsage(10, 5, prompt_cache_hit_tokens=4), (6, 4, 0, 5, 0)),  # DeepSeek
        (VendorUsage(10, 5, cached_tokens=4), (6, 4, 0, 5, 0)),  # Moonshot
        (VendorUsage(10, 5, prompt_tokens_details=PromptDetails(4, 3)), (3, 4, 3, 5, 0)),
        (VendorUsage(10, 5, prompt_tokens_details=PromptDetails(8, 8)), (0, 8, 2, 5, 0)),
        (VendorUsage(10, 5, prompt_tokens_details=PromptDetails(99)), (0, 10, 0, 5, 0)),
        (VendorUsage(10, 5, prompt_tokens_details=PromptDetails(-4)), (10, 0, 0, 5, 0)),
        (VendorUsage(10, 5, completion_tokens_details=CompletionDetails(9)), (10, 0, 0, 0, 5)),
        (VendorUsage(0, 0, 0), (0, 0, 0, 0, 0)),
    ],
)
def test_where_vendors_put_cached_tokens(vendor: VendorUsage, expected: tuple[int, ...]) -> None:
    usage = normalise(vendor)
    assert (
        usage.input_uncached,
        usage.cache_read,
        usage.cache_write,
        usage.output_visible,
        usage.reasoning,
    ) == expected


@pytest.mark.parametrize(
    "vendor",
    [
        VendorUsage(),
        VendorUsage(None, 5, 15),
        VendorUsage(10),
        VendorUsage(-1, 5),
        VendorUsage(10, -5),
        VendorUsage(10, None, 5),
        VendorUsage(2**62, 5),
        VendorUsage(10, 2**63 - 1),
    ],
)
def test_what_cannot_be_true_is_no_usage(vendor: VendorUsage) -> None:
    assert normalise(vendor) is None


REQUEST = ChatRequest(
    "m",
    [
        Message("user", "你好，世界"),
        Message("assistant", None),
        Message("user", [{"type": "text", "text": "a" * 8}, {"type": "image_url"}]),
    ],
)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": -1, "completion_tokens": -1},
        {"prompt_tokens": 2**63, "completion_tokens": 1},
        {"prompt_tokens": 10**30, "completion_tokens": 1},
        {"prompt_tokens": 7.0, "completion_tokens": 1.0},
        {"prompt_tokens": "7", "completion_tokens": "1"},
        {"prompt_tokens": 7, "completion_tokens": 1, "prompt_tokens_details": []},
        {"prompt_tokens": 7, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": "many"}},
        [],
        "unknown",
        7,
    ],
    ids=repr,
)
def test_an_answer_with_absurd_usage_is_an_answer_with_our_own_count(usage: object) -> None:
    answer = {"model": "m", "choices": [{"message": {"content": "你好"}, "finish_reason": "stop"}], "usage": usage}
    chunk = read_completion(json.dumps(answer).encode(), REQUEST)
    assert chunk.text == "你好"
    assert chunk.usage.completion_tokens > 0
    assert 0 < chunk.usage.prompt_tokens < 100


def test_an_estimate_counts_messages_of_every_form() -> None:
    usage = estimate(REQUEST, 4)
    assert usage.source == "estimated"
    assert usage.prompt_tokens == 3 * 3 + estimate_tokens("你好，世界") + 2
    assert usage.completion_tokens == 4


@given(st.text(max_size=200))
def test_an_estimate_is_between_a_quarter_and_all_of_the_characters(text: str) -> None:
    assert len(text) / 4 <= estimate_tokens(text) <= len(text) + 1


@given(st.dictionaries(st.sampled_from(list(VendorUsage.__struct_fields__)), counts))
def test_whatever_is_read_is_normalised(fields: dict[str, int | None]) -> None:
    numbers = {name: value for name, value in fields.items() if not name.endswith("_details")}
    normalise(msgspec.json.decode(json.dumps(numbers), type=VendorUsage))


@pytest.mark.parametrize("usage", [[], "unknown", {"prompt_tokens": 7.5}, {"prompt_tokens_details": 1}], ids=repr)
@pytest.mark.parametrize("place", ["event", "choice"])
def test_a_stream_with_absurd_usage_goes_on(usage: object, place: str) -> None:
    events = OpenAIEvents(REQUEST, "", NO_CODES)
    choice: dict[str, object] = {"delta": {"content": "你好"}, "finish_reason": "stop"}
    event: dict[str, object] = {"model": None, "choices": [choice]}
    (event if place == "event" else choice)["usage"] = usage
    events.take(json.dumps(event).encode())
    events.take(b"[DONE]")
    assert "".join(chunk.text for chunk in events.ready) == "你好"
    assert events.ready[-1].usage.completion_tokens == estimate_tokens("你好")
    with pytest.raises(UpstreamError):
        OpenAIEvents(REQUEST, "", NO_CODES).take(b'{"choices":[{"delta":{"content":7}}],"usage":[]}')
