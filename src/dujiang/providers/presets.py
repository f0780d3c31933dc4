"""Vendors that speak the OpenAI format: a vendor is a row."""

from msgspec import Struct

from dujiang.core.errors import (
    BadCredential,
    ContentFiltered,
    NoSuchDeployment,
    OutOfQuota,
    Rejected,
    Throttled,
    TooLong,
    Unavailable,
    UpstreamError,
)
from dujiang.providers.errors import NO_CODES, Codes


class Preset(Struct, frozen=True):
    """Where a vendor lives and how its dialect differs.

    `drops` are request fields that it refuses, `renames` those that it calls otherwise, `has_stream_usage` whether it
    takes `stream_options`, `has_developer_role` whether it knows that role, `codes` its own error codes.
    `is_self_hosted` means that it usually runs beside us, so that its own address, which is on loopback, needs no
    permission.
    """

    base_url: str = ""
    drops: frozenset[str] = frozenset()
    renames: tuple[tuple[str, str], ...] = ()
    has_stream_usage: bool = True
    has_developer_role: bool = False
    codes: Codes = NO_CODES
    is_self_hosted: bool = False


_PENALTIES = frozenset({"presence_penalty", "frequency_penalty"})

_ZHIPU_CODES: dict[tuple[int, str], type[UpstreamError]] = {
    (0, code): kind
    for kind, codes in {
        BadCredential: ("1000", "1001", "1002", "1003", "1004", "1100", "1110", "1111", "1112", "1121"),
        OutOfQuota: ("1113", "1304", "1308", "1309", "1310"),
        Rejected: ("1210", "1212", "1213", "1214", "1215", "1231"),
        NoSuchDeployment: ("1211", "1220", "1221", "1222", "1311"),
        TooLong: ("1261",),
        ContentFiltered: ("1300", "1301"),
        Throttled: ("1302", "1303", "1313"),
        Unavailable: ("1305", "1312"),
    }.items()
    for code in codes
}
"""Zhipu's codes are numbers in quotes; its status says little (429 also means an account without money)."""

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
        codes=_ZHIPU_CODES,
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
