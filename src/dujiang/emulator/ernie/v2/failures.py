"""V2's errors by name: status, body and headers. The rows are Baidu's own, spelling included."""

from typing import Literal

import msgspec
from msgspec import Struct

from dujiang.emulator.dialect import Allowance, Answer
from dujiang.emulator.ernie.marks import headers, new_reply_id

INVALID = "invalid_request_error"
DENIED = "access_denied"
INTERNAL = "Internal_error"
UNSAFE = "unsafe_request"
LIMITED = "rate_limit_exceeded"


class Failure(Struct, frozen=True):
    """One error. `shape`: `{"error": {…}, "id"}`, the same fields at the top, or two headers and no body at all."""

    status: int
    type: str
    code: str
    message: str
    shape: Literal["nested", "flat", "headers"] = "nested"


_ROWS = (
    Failure(400, INVALID, "malformed_json", "Invalid Argument"),
    Failure(400, INVALID, "invalid_model", "model is empty"),
    Failure(400, INVALID, "invalid_messages", "the content of the last message must not be blank"),
    Failure(400, INVALID, "characters_too_long", "the max input characters is 20000"),
    Failure(400, INVALID, "tokens_too_long", "Prompt tokens too long"),
    Failure(400, INVALID, "invalid_argument", "temperature must be between 0 and 1"),
    Failure(400, INVALID, "invalid_plugin_argument", "the arguments of the plugin are invalid"),
    Failure(400, INVALID, "invalid_image_url", "the image width and height are not within the allowed range"),
    Failure(400, INVALID, "invalid_image_generation_prompt", "prompt is invalid, please check parameter"),
    Failure(400, INVALID, "invalid_image_genration_prompt", "prompt is invalid, please check parameter"),
    Failure(400, INVALID, "invalid_image_generation_refer_image", "refer image is invalid, please check parameter"),
    Failure(400, INVALID, "invalid_image_genration_refer_image", "refer image is invalid, plsease check parameter"),
    Failure(400, UNSAFE, "image_url_unsafe", "the content of image_url.url field is unsafe"),
    Failure(401, INVALID, "invalid_iam_token", "IAM Certification failed"),
    Failure(401, INVALID, "invalid_appid", "No permission to use the appid"),
    Failure(401, DENIED, "no_parameter_permission", "No permission to use the parameter web_search"),
    Failure(403, UNSAFE, "system_unsafe", "the content of system field is invalid"),
    Failure(403, UNSAFE, "user_setting_unsafe", "the content of user field is invalid"),
    Failure(403, UNSAFE, "functions_unsafe", "the content of functions field is invalid"),
    Failure(403, DENIED, "account_overdue", "Access denied due to overdue account"),
    Failure(403, DENIED, "model_offline", "The model is offline"),
    Failure(405, INVALID, "method_not_supported", "Only POST requests are accepted"),
    Failure(429, LIMITED, "rpm_rate_limit_exceeded", "Rate limit reached for RPM"),
    Failure(429, LIMITED, "tpm_rate_limit_exceeded", "Rate limit reached for TPM"),
    Failure(429, LIMITED, "input_tpm_rate_limit_exceeded", "Rate limit reached for Input TPM"),
    Failure(429, LIMITED, "output_tpm_rate_limit_exceeded", "Rate limit reached for Output TPM"),
    Failure(429, LIMITED, "user_rate_limit_exceeded", "qps request limit by APP ID reached"),
    Failure(429, LIMITED, "cluster_rate_limit_exceeded", "request limit by resouce cluster reached"),
    Failure(429, LIMITED, "cluster_rpm_rate_limit_exceeded", "Rate limit reached for Cluster RPM"),
    Failure(429, LIMITED, "cluster_tpm_rate_limit_exceeded", "Rate limit reached for Cluster TPM"),
    Failure(429, LIMITED, "preemptible_rate_limit_exceeded", "Rate limit reached for preemptible resource"),
    Failure(429, LIMITED, "Offline_batch_reasoning_refused", "Rate limit reached for offline batch reasoning"),
    Failure(429, LIMITED, "RATE_LIMIT_TOTAL_QPS", "Total API QPS limit exceeded"),
    Failure(429, LIMITED, "QUOTA_USER_DAILY_FREE", "Daily free quota per user for AI Search exceeded"),
    Failure(429, LIMITED, "BILLING_INSUFFICIENT_BALANCE", "Your account has insufficient balance"),
    Failure(500, INTERNAL, "internal_error", "Internal error"),
    Failure(500, INTERNAL, "dispatch_internal_error", "Internal error"),
    Failure(500, INTERNAL, "image_generation_interal_error", "image generation service interal error"),
)

FAILURES: dict[str, Failure] = {row.code: row for row in _ROWS} | {
    "model_permission": Failure(401, INVALID, "invalid_model", "No permission to use the model"),
    "iam_failure": Failure(401, DENIED, "AccessDenied", "IAM authentication failed", shape="headers"),
}
"""By name: the code, but for `model_permission`, which shares its code with another row, and `iam_failure`."""

_FLAT = {f"flat_{name}": msgspec.structs.replace(row, shape="flat") for name, row in FAILURES.items()}
STATUSES = ("400", "401", "403", "405", "429", "500", "502", "503", "504")
NAMES = frozenset((*FAILURES, *_FLAT, *STATUSES))
"""What `error=` takes: each error, each with `flat_` before it, and statuses."""

_BY_STATUS = {
    401: "invalid_iam_token",
    403: "model_offline",
    405: "method_not_supported",
    413: "characters_too_long",
    429: "rpm_rate_limit_exceeded",
}


def by_status(status: int) -> Failure:
    """The error that Baidu documents for a status; for others the general one of its class."""
    name = _BY_STATUS.get(status, "invalid_argument" if status < 500 else "internal_error")
    return msgspec.structs.replace(FAILURES[name], status=status)


def named(error: str) -> Failure:
    """An error by its name, or by its status written as one."""
    return by_status(int(error)) if error.isdecimal() else FAILURES.get(error) or _FLAT[error]


def answer(failure: Failure, allowance: Allowance) -> Answer:
    """The failure as it is written."""
    lines = headers(allowance)
    fields = {"code": failure.code, "message": failure.message, "type": failure.type}
    match failure.shape:
        case "headers":
            lines += f"X-Bce-Error-Code: {failure.code}\r\nX-Bce-Error-Message: {failure.message}\r\n".encode()
            return Answer(b"", failure.status, lines, b"text/plain")
        case "flat":
            body: dict[str, object] = {**fields, "id": new_reply_id()}
        case "nested":
            body = {"error": fields, "id": new_reply_id()}
    return Answer(msgspec.json.encode(body), failure.status, lines)
