"""Errors as OpenAI answers them, and as vLLM and Ollama do on the same paths: status, body and headers by name."""

from typing import Literal

import msgspec
from msgspec import Struct

from dujiang.emulator.dialect import Allowance, Answer
from dujiang.emulator.openai.headers import FULL_TOKENS, headers

INVALID = "invalid_request_error"


class Failure(Struct, frozen=True):
    """One error. `{model}` in its message is the model that was asked.

    `shape` is the form of the body: OpenAI's `{"error": {...}}`, the same fields at the top (older vLLM), or
    `{"error": "text"}` (Ollama, and vLLM for a bad key). `exhausted` is the limit that the headers show as used up.
    """

    status: int
    message: str
    type: str = INVALID
    code: str | int | None = None
    param: str | None = None
    shape: Literal["nested", "flat", "text"] = "nested"
    exhausted: Literal["requests", "tokens"] | None = None


def _quota(message: str, code: str) -> Failure:
    return Failure(429, message, "insufficient_quota", code)


_TOO_LONG = (
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens. "
    "Please reduce the length of the messages."
)
_BILLING = "You exceeded your current quota, please check your plan and billing details."

FAILURES: dict[str, Failure] = {
    "invalid_request_error": Failure(400, "Invalid request."),
    "invalid_value": Failure(400, "Invalid value for 'temperature'.", code="invalid_value", param="temperature"),
    "unsupported_parameter": Failure(
        400,
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        code="unsupported_parameter",
        param="max_tokens",
    ),
    "unsupported_value": Failure(
        400,
        "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) is supported.",
        code="unsupported_value",
        param="temperature",
    ),
    "context_length_exceeded": Failure(400, _TOO_LONG, code="context_length_exceeded", param="messages"),
    "string_above_max_length": Failure(
        400,
        "Invalid 'messages[0].content': string too long. Expected a string with maximum length 1048576.",
        code="string_above_max_length",
        param="messages[0].content",
    ),
    "content_policy_violation": Failure(
        400, "Your request was rejected because it violates our content policy.", code="content_policy_violation"
    ),
    "safety_system": Failure(
        400, "Your request was rejected as a result of our safety system.", code="content_policy_violation"
    ),
    "invalid_prompt": Failure(
        400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy.", code="invalid_prompt"
    ),
    "invalid_api_key": Failure(401, "Incorrect API key provided: sk-emula***ated.", code="invalid_api_key"),
    "no_organization": Failure(401, "You must be a member of an organization to use the API.", code="no_organization"),
    "ip_not_authorized": Failure(401, "Your IP is not authorized to use this key.", code="ip_not_authorized"),
    "unsupported_country_region_territory": Failure(
        403,
        "Country, region, or territory not supported",
        "request_forbidden",
        "unsupported_country_region_territory",
    ),
    "model_permission": Failure(
        403, "Project `proj_emulated` does not have access to model `{model}`", code="model_not_found"
    ),
    "model_not_found": Failure(
        404, "The model `{model}` does not exist or you do not have access to it.", code="model_not_found"
    ),
    "request_timeout": Failure(408, "The request timed out.", "server_error", "request_timeout"),
    "conflict": Failure(409, "The resource was updated by another request.", "server_error", "conflict"),
    "request_too_large": Failure(413, "The request body is too large.", code="request_too_large"),
    "rate_limit_exceeded": Failure(
        429,
        "Rate limit reached for {model} in organization org-emulated on requests per min (RPM): Limit 10000, "
        "Used 10000, Requested 1. Please try again in 1s.",
        "requests",
        "rate_limit_exceeded",
        exhausted="requests",
    ),
    "tokens_per_min": Failure(
        429,
        "Rate limit reached for {model} in organization org-emulated on tokens per min (TPM): Limit 2000000, "
        "Used 2000000, Requested 120. Please try again in 1s.",
        "tokens",
        "rate_limit_exceeded",
        exhausted="tokens",
    ),
    "request_too_large_for_tpm": Failure(
        429,
        "Request too large for {model} in organization org-emulated on tokens per min (TPM): Limit 10000, "
        "Requested 12000. The input or output tokens must be reduced in order to run successfully.",
        "tokens",
        "rate_limit_exceeded",
        exhausted="tokens",
    ),
    "slow_down": Failure(
        429, "Your request rate grew too fast. Slow down and ramp up gradually.", "rate_limit_error", "slow_down"
    ),
    "insufficient_quota": _quota(_BILLING, "insufficient_quota"),
    "credit_balance_exhausted": _quota("Your credit balance is exhausted.", "credit_balance_exhausted"),
    "organization_spend_limit_exceeded": _quota(
        "Your organization reached its spend limit.", "organization_spend_limit_exceeded"
    ),
    "project_spend_limit_exceeded": _quota("Your project reached its spend limit.", "project_spend_limit_exceeded"),
    "organization_usage_limit_exceeded": _quota(
        "Your organization reached its usage limit.", "organization_usage_limit_exceeded"
    ),
    "server_error": Failure(500, "The server had an error while processing your request. Sorry!", "server_error"),
    "bad_gateway": Failure(502, "Bad gateway.", "server_error"),
    "server_is_overloaded": Failure(
        503,
        "Our servers are currently overloaded. Please try again later.",
        "service_unavailable_error",
        "server_is_overloaded",
    ),
    "gateway_timeout": Failure(504, "The server timed out.", "server_error"),
    "BadRequestError": Failure(400, "temperature must be non-negative.", "BadRequestError", 400),
    "NotFoundError": Failure(404, "The model `{model}` does not exist.", "NotFoundError", 404),
    "InternalServerError": Failure(500, "EngineCore encountered an issue.", "InternalServerError", 500),
    "Unauthorized": Failure(401, "Unauthorized", shape="text"),
    "vllm_context_length": Failure(400, _TOO_LONG, "BadRequestError", 400, "input_tokens"),
    "vllm_flat": Failure(400, _TOO_LONG, "BadRequestError", 400, shape="flat"),
    "ollama_400": Failure(400, "invalid message content type", shape="text"),
    "ollama_404": Failure(404, "model '{model}' not found", shape="text"),
    "ollama_429": Failure(429, "too many requests", shape="text"),
    "ollama_500": Failure(500, "llama runner process has terminated", shape="text"),
    "ollama_502": Failure(502, "the cloud model cannot be reached", shape="text"),
    "ollama_503": Failure(503, "server busy, please try again. maximum pending requests exceeded", shape="text"),
}

_BY_STATUS = {
    401: "invalid_api_key",
    403: "unsupported_country_region_territory",
    404: "model_not_found",
    408: "request_timeout",
    409: "conflict",
    413: "request_too_large",
    429: "rate_limit_exceeded",
    502: "bad_gateway",
    503: "server_is_overloaded",
    504: "gateway_timeout",
}


def by_status(status: int) -> Failure:
    """The error that OpenAI documents for a status; for others the general one of its class."""
    name = _BY_STATUS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return msgspec.structs.replace(FAILURES[name], status=status)


def named(error: str) -> Failure:
    """An error by its name, or by its status written as one."""
    return by_status(int(error)) if error.isdecimal() else FAILURES[error]


def answer(failure: Failure, model: str, allowance: Allowance) -> Answer:
    """The failure as it is written. `allowance` holds unless the failure is that a limit is used up."""
    used_up = Allowance(allowance.limit, 0, max(1.0, allowance.reset_s))
    requests = used_up if failure.exhausted == "requests" else allowance
    tokens = Allowance(FULL_TOKENS.limit, 0, 1.0) if failure.exhausted == "tokens" else FULL_TOKENS
    return Answer(msgspec.json.encode(_body(failure, model)), failure.status, headers(requests, tokens))


def _body(failure: Failure, model: str) -> dict[str, object]:
    message = failure.message.replace("{model}", model)
    if failure.shape == "text":
        return {"error": message}
    fields: dict[str, object] = {
        "message": message,
        "type": failure.type,
        "param": failure.param,
        "code": failure.code,
    }
    return {"object": "error", **fields} if failure.shape == "flat" else {"error": fields}
