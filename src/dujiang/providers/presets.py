"""Vendors that speak the OpenAI format: a vendor is a row."""

from msgspec import Struct


class Preset(Struct, frozen=True):
    """Where a vendor lives and how its dialect differs.

    `drops` are request fields that it refuses, `renames` those that it calls otherwise, `has_stream_usage` whether it
    takes `stream_options`, `has_developer_role` whether it knows that role. `is_self_hosted` means that it usually runs
    beside us, so that its own address, which is on loopback, needs no permission.
    """

    base_url: str = ""
    drops: frozenset[str] = frozenset()
    renames: tuple[tuple[str, str], ...] = ()
    has_stream_usage: bool = True
    has_developer_role: bool = False
    is_self_hosted: bool = False


_PENALTIES = frozenset({"presence_penalty", "frequency_penalty"})

PRESETS: dict[str, Preset] = {
    "openai": Preset(base_url="https://api.openai.com/v1", has_developer_role=True),
    "deepseek": Preset(
        base_url="https://api.deepseek.com/v1",
        drops=frozenset({"seed", "n", "logit_bias", "parallel_tool_calls"}),
        renames=(("max_completion_tokens", "max_tokens"),),
    ),
    "dashscope": Preset(base_url="https://dashscope.aliyuncs.com/compatible-mode/v1"),
    "zhipu": Preset(
        base_url="https://open.bigmodel.cn/api/paas/v4",
        drops=_PENALTIES | {"seed", "n", "logprobs", "top_logprobs", "logit_bias", "parallel_tool_calls"},
        renames=(("max_completion_tokens", "max_tokens"),),
        has_stream_usage=False,
    ),
    "moonshot": Preset(
        base_url="https://api.moonshot.cn/v1",
        drops=_PENALTIES | {"seed", "n", "logit_bias"},
        renames=(("max_completion_tokens", "max_tokens"),),
    ),
    "ark": Preset(base_url="https://ark.cn-beijing.volces.com/api/v3"),
    "hunyuan": Preset(
        base_url="https://api.hunyuan.cloud.tencent.com/v1",
        renames=(("max_completion_tokens", "max_tokens"),),
    ),
    "siliconflow": Preset(
        base_url="https://api.siliconflow.cn/v1",
        renames=(("max_completion_tokens", "max_tokens"),),
    ),
    "minimax": Preset(base_url="https://api.minimaxi.com/v1"),
    "stepfun": Preset(base_url="https://api.stepfun.com/v1", renames=(("max_completion_tokens", "max_tokens"),)),
    "vllm": Preset(base_url="http://127.0.0.1:8000/v1", is_self_hosted=True),
    "ollama": Preset(
        base_url="http://127.0.0.1:11434/v1",
        renames=(("max_completion_tokens", "max_tokens"),),
        is_self_hosted=True,
    ),
}
"""Kinds of provider that this module can serve. Addresses and limits: the vendors' own pages, November 2026."""
