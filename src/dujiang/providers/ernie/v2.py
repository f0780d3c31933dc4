"""Qianfan V2, ERNIE's second generation: the OpenAI format with a few differences."""

from dujiang.providers.ernie.errors import V2_CODES
from dujiang.providers.presets import Preset

QIANFAN = Preset(
    drops=frozenset({"n", "logit_bias", "logprobs", "top_logprobs"}),
    codes=V2_CODES,
)
"""`max_completion_tokens` bounds thinking and answer, `max_tokens` the answer alone: both are passed on as they are."""
