"""What ERNIE's error codes mean. V1 answers them with status 200; V2 with a status that sometimes lies.

Sources: Baidu's error pages (V1 of September 2025, V2 of November 2026) and its SDK.
"""

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
from dujiang.providers.errors import Codes, VendorError, classify

V1_CODES: dict[int, type[UpstreamError]] = {
    1: UpstreamError,
    2: Unavailable,
    3: NoSuchDeployment,
    4: Unavailable,
    6: NoSuchDeployment,
    13: BadCredential,
    14: BadCredential,
    15: UpstreamError,
    17: OutOfQuota,
    18: Throttled,
    19: OutOfQuota,
    100: BadCredential,
    110: BadCredential,
    111: BadCredential,
    336000: UpstreamError,
    336001: Rejected,
    336002: Rejected,
    336003: Rejected,
    336004: NoSuchDeployment,
    336005: NoSuchDeployment,
    336006: TooLong,
    336007: TooLong,
    336100: Unavailable,
    336101: Rejected,
    336103: TooLong,
    336104: Rejected,
    336105: Rejected,
    336501: Throttled,
    336502: Throttled,
    500000: UpstreamError,
}

INVALID_TOKEN_CODES = frozenset({100, 110, 111})
"""The token is missing, invalid or expired: a fresh one may do."""

_V1_BY_CODE: Codes = {(0, str(code)): kind for code, kind in V1_CODES.items()}

V2_CODES: Codes = {
    (400, "malformed_json"): Rejected,
    (400, "invalid_model"): Rejected,
    (400, "invalid_messages"): Rejected,
    (400, "invalid_argument"): Rejected,
    (400, "invalid_plugin_argument"): Rejected,
    (400, "invalid_image_url"): Rejected,
    (400, "invalid_image_generation_prompt"): Rejected,
    (400, "invalid_image_genration_prompt"): Rejected,
    (0, "characters_too_long"): TooLong,
    (0, "tokens_too_long"): TooLong,
    (0, "image_url_unsafe"): ContentFiltered,
    (0, "system_unsafe"): ContentFiltered,
    (0, "user_setting_unsafe"): ContentFiltered,
    (0, "functions_unsafe"): ContentFiltered,
    (401, "invalid_model"): NoSuchDeployment,
    (0, "invalid_iam_token"): BadCredential,
    (0, "invalid_appid"): BadCredential,
    (0, "no_parameter_permission"): Rejected,
    (0, "method_not_supported"): Rejected,
    **{(0, f"{what}rate_limit_exceeded"): Throttled for what in ("rpm_", "tpm_", "input_tpm_", "output_tpm_", "user_")},
    **{
        (0, f"{what}rate_limit_exceeded"): Unavailable
        for what in ("cluster_", "cluster_rpm_", "cluster_tpm_", "preemptible_")
    },
    (0, "Offline_batch_reasoning_refused"): Unavailable,
    (0, "account_overdue"): OutOfQuota,
    (0, "model_offline"): NoSuchDeployment,
    (0, "RATE_LIMIT_TOTAL_QPS"): Throttled,
    (0, "QUOTA_USER_DAILY_FREE"): OutOfQuota,
    (0, "BILLING_INSUFFICIENT_BALANCE"): OutOfQuota,
    (0, "internal_error"): UpstreamError,
    (0, "dispatch_internal_error"): UpstreamError,
}


def v1_error(code: int, message: str, *, secrets: tuple[str, ...]) -> UpstreamError:
    """The error for a V1 answer. An unknown code is a failure of the service, with its words in `raw`."""
    text = message
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    return classify(200, VendorError(text, code=str(code)), secret="", codes=_V1_BY_CODE)
