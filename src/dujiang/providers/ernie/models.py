"""ERNIE's models: what V1 calls them in its paths. V2 takes their names in lower case."""

V1_PATHS: dict[str, str] = {
    "ERNIE-4.0-8K": "completions_pro",
    "ERNIE-Bot-4": "completions_pro",
    "ERNIE-4.0-8K-Latest": "ernie-4.0-8k-latest",
    "ERNIE-4.0-8K-Preview-0518": "completions_adv_pro",
    "ERNIE-4.0-Turbo-8K": "ernie-4.0-turbo-8k",
    "ERNIE-3.5-8K": "completions",
    "ERNIE-Bot": "completions",
    "ERNIE-3.5-128K": "ernie-3.5-128k",
    "ERNIE-Bot-8K": "ernie_bot_8k",
    "ERNIE-Character-8K": "ernie-char-8k",
    "ERNIE-Novel-8K": "ernie-novel-8k",
    "ERNIE-Speed-8K": "ernie_speed",
    "ERNIE-Speed": "ernie_speed",
    "ERNIE-Speed-128K": "ernie-speed-128k",
    "ERNIE-Speed-Pro-128K": "ernie-speed-pro-128k",
    "ERNIE-Lite-8K": "ernie-lite-8k",
    "ERNIE-Lite-8K-0308": "ernie-lite-8k",
    "ERNIE-Lite-8K-0922": "eb-instant",
    "ERNIE-Bot-turbo": "eb-instant",
    "ERNIE-Lite-Pro-8K": "ernie-lite-pro-8k",
    "ERNIE-Tiny-8K": "ernie-tiny-8k",
    "ERNIE-Function-8K": "ernie-func-8k",
    "Qianfan-Dynamic-8K": "qianfan-dynamic-8k",
    "Llama-2-7B-Chat": "llama_2_7b",
    "BLOOMZ-7B": "bloomz_7b1",
}
"""Paths under `/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/`; source: the vendor's SDK of December 2025."""

_BY_LOWER = {name.lower(): path for name, path in V1_PATHS.items()}


def v1_path(model: str) -> str:
    """The last part of a model's path.

    A name that is not listed is its own path in lower case, as with the vendor's later models and the services that
    customers name themselves.
    """
    return _BY_LOWER.get(model.lower(), model.lower())


def v2_name(model: str) -> str:
    """A model's name in V2: ERNIE's own names are written in lower case there, others as they are."""
    return model.lower() if model.lower() in _BY_LOWER or model.upper().startswith("ERNIE") else model
