"""V1's errors: a code and a text inside HTTP 200, also where a stream was asked for."""

import msgspec

from dujiang.emulator.dialect import Allowance, Answer
from dujiang.emulator.ernie.marks import headers

FAILURES: dict[str, str] = {
    "1": "Unknown error",
    "2": "Service temporarily unavailable",
    "3": "Unsupported openapi method",
    "4": "Open api request limit reached",
    "6": "No permission to access data",
    "13": "Get service token failed",
    "14": "IAM Certification failed",
    "15": "app not exists or create failed",
    "17": "Open api daily request limit reached",
    "18": "Open api qps request limit reached",
    "19": "Open api total request limit reached",
    "100": "Invalid parameter",
    "110": "Access token invalid or no longer valid",
    "111": "Access token expired",
    "336000": "Internal error",
    "336001": "Invalid Argument",
    "336002": "Invalid JSON",
    "336003": "messages length must be odd",
    "336004": "Permission error",
    "336005": "API name not exist",
    "336006": "the max length of current question is 4800",
    "336007": "the max input characters is 20000",
    "336100": "Server high load",
    "336101": "Invalid HTTP method",
    "336103": "Prompt tokens too long",
    "336104": "Invalid argument system",
    "336105": "Invalid argument user setting",
    "336501": "Rate limit reached for RPM",
    "336502": "Rate limit reached for TPM",
    "500000": "Console API internal error",
}

_BY_STATUS = {
    401: "110",
    403: "6",
    404: "3",
    405: "336101",
    413: "336007",
    429: "336501",
    503: "336100",
    504: "2",
}


def by_status(status: int) -> str:
    """The code that means the same as an HTTP status, which V1 itself never sends."""
    return _BY_STATUS.get(status, "336001" if status < 500 else "336000")


def answer(code: str, allowance: Allowance, *, message: str | None = None, status: int = 200) -> Answer:
    """The error as it is written, with its usual text unless another is given."""
    body = {"error_code": int(code), "error_msg": FAILURES[code] if message is None else message}
    return Answer(msgspec.json.encode(body), status, headers(allowance))
