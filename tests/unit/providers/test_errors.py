"""A vendor's error, in every shape it may have: never a crash, the right class, and never the credential."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dujiang.core.errors import (
    BadCredential,
    ContentFiltered,
    NoSuchDeployment,
    OutOfQuota,
    Rejected,
    Throttled,
    Timeout,
    TooLong,
    Unavailable,
    UpstreamError,
)
from dujiang.providers.errors import NO_CODES, VendorError, classify, read_error, retry_after_s
from dujiang.providers.presets import PRESETS

SECRET = "sk-canary-Zx91Qw"

SHAPES: dict[str, tuple[bytes, VendorError]] = {
    "nested": (
        b'{"error":{"message":"m","type":"t","code":"c","param":"p"}}',
        VendorError("m", "t", "c", "p"),
    ),
    "flat": (b'{"object":"error","message":"m","type":"t","code":400}', VendorError("m", "t", "400")),
    "flat of DashScope": (b'{"code":"Arrearage","message":"m","request_id":"r"}', VendorError("m", "", "Arrearage")),
    "list of one": (b'[{"error":{"message":"m","code":7}}]', VendorError("m", "", "7")),
    "a text under error": (b'{"error":"m"}', VendorError("m")),
    "a text": (b'"m"', VendorError("m")),
    "a number": (b"404", VendorError("404")),
    "null": (b"null", VendorError()),
    "empty list": (b"[]", VendorError()),
    "empty object": (b"{}", VendorError()),
    "error is null": (b'{"error":null,"message":"m"}', VendorError("m")),
    "error is empty": (b'{"error":{}}', VendorError()),
    "error is a list": (b'{"error":["a","b"]}', VendorError('["a","b"]')),
    "nulls inside": (b'{"error":{"message":null,"type":null,"code":null,"param":null}}', VendorError()),
    "objects inside": (b'{"error":{"message":{"a":1},"code":["x"],"param":{}}}', VendorError('{"a":1}', "", '["x"]')),
    "HTML": (b"<html>502</html>\n", VendorError("<html>502</html>")),
    "nothing": (b"", VendorError()),
    "blank": (b" \n", VendorError()),
    "not UTF-8": (b"\xff\xfeno", VendorError("\ufffd\ufffdno")),
    "not UTF-8 in JSON": (b'{"error":{"message":"\xff"}}', VendorError('{"error":{"message":"\ufffd"}}')),
    "cut JSON": (b'{"error":{"mess', VendorError('{"error":{"mess')),
    "a lone surrogate": (b'"\\ud800"', VendorError('"\\ud800"')),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_understood(name: str) -> None:
    body, expected = SHAPES[name]
    assert read_error(body) == expected


@pytest.mark.parametrize("depth", [*range(50, 1200, 50), *range(940, 1010), 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"error":', "}"), ('{"message":', "}")])
def test_depth_breaks_nothing(depth: int, opening: str, closing: str) -> None:
    assert isinstance(read_error((opening * depth + "1" + closing * depth).encode()), VendorError)
    nested = f'{{"error":{{"message":{opening * depth}1{closing * depth}}}}}'
    assert isinstance(read_error(nested.encode()), VendorError)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "code", "type", "param"]), inner, max_size=5)
    ),
    max_leaves=15,
)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()), st.integers(100, 999))
@example(b"1" + b"0" * 5000, 400)
@example(b'{"error":{"code":%d}}' % (10**4000), 400)
def test_no_body_breaks_it(body: bytes, status: int) -> None:
    error = classify(status, read_error(body), secret=SECRET)
    assert isinstance(error, UpstreamError)
    assert error.message
    assert len(error.message) < 1000
    assert error.reason is None or len(error.reason) <= 100
    assert error.param is None or len(error.param) <= 100
    assert len(error.raw) <= 500


@given(
    before=st.integers(0, 8100),
    fields=st.fixed_dictionaries(
        {},
        optional={
            name: st.sampled_from([SECRET, f"Bearer {SECRET}", f"x{SECRET}y", f"{SECRET}{SECRET}"])
            for name in ("message", "code", "type", "param")
        },
    ),
    status=st.sampled_from([200, 400, 401, 403, 404, 413, 422, 429, 500, 503]),
)
@example(before=495, fields={"message": SECRET}, status=400)
@example(before=7995, fields={"message": SECRET}, status=400)
@example(before=480, fields={"message": SECRET}, status=500)
@example(before=95, fields={"code": SECRET}, status=400)
def test_the_credential_is_in_no_part_of_an_error(before: int, fields: dict[str, str], status: int) -> None:
    """Not even its beginning, where a long text is cut."""
    padded = {name: "a" * before + value for name, value in fields.items()}
    bodies = [json.dumps({"error": padded}), json.dumps(padded), json.dumps([{"error": padded}]), json.dumps(padded)]
    bodies += [json.dumps("a" * before + SECRET), "a" * before + SECRET]
    for body in bodies:
        error = classify(status, read_error(body.encode()), secret=SECRET)
        for text in (error.message, error.reason, error.param, error.raw, str(error), repr(error)):
            assert SECRET[:8] not in (text or "")


def test_an_empty_credential_replaces_nothing() -> None:
    assert classify(400, VendorError("a bad value"), secret="").message == "a bad value"


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        # DashScope: money under 400 and 429, and the only sign of length is a text
        (400, VendorError("Access denied", "", "Arrearage"), OutOfQuota),
        (400, VendorError("Range of input length should be [1, 6000]", "", "InvalidParameter"), TooLong),
        (400, VendorError("m", "", "DataInspectionFailed"), ContentFiltered),
        (400, VendorError("m", "data_inspection_failed", ""), ContentFiltered),
        (401, VendorError("m", "", "InvalidApiKey"), BadCredential),
        (403, VendorError("m", "", "Model.AccessDenied"), NoSuchDeployment),
        (404, VendorError("m", "", "ModelNotFound"), NoSuchDeployment),
        (429, VendorError("m", "", "Throttling.RateQuota"), Throttled),
        (429, VendorError("m", "", "Throttling"), Throttled),
        (429, VendorError("m", "", "limit_requests"), Throttled),
        (429, VendorError("Free quota is used up", "", "Throttling.AllocationQuota"), OutOfQuota),
        (429, VendorError("m", "", "PrepaidBillOverdue"), OutOfQuota),
        (429, VendorError("m", "", "CommodityNotPurchased"), OutOfQuota),
        (500, VendorError("m", "", "InternalError"), UpstreamError),
        # Zhipu: numbers as texts, and 429 for money
        *((429, VendorError("m", "", code), OutOfQuota) for code in ("1113", "1304", "1308", "1309", "1310")),
        *((401, VendorError("m", "", code), BadCredential) for code in ("1000", "1003", "1100", "1112")),
        *((400, VendorError("m", "", code), Rejected) for code in ("1210", "1214", "1231")),
        *((400, VendorError("m", "", code), NoSuchDeployment) for code in ("1211", "1222", "1311")),
        (400, VendorError("m", "", "1261"), TooLong),
        (400, VendorError("m", "", "1301"), ContentFiltered),
        (429, VendorError("m", "", "1302"), Throttled),
        (429, VendorError("m", "", "1305"), Unavailable),
        (500, VendorError("m", "", "1234"), UpstreamError),
        # Moonshot: only a type
        (400, VendorError("m", "content_filter", ""), ContentFiltered),
        (
            400,
            VendorError("Invalid request: Your request exceeded model token limit: 8192", "invalid_request_error"),
            TooLong,
        ),
        (400, VendorError("token length too long", "invalid_request_error"), TooLong),
        (400, VendorError("m", "invalid_request_error"), Rejected),
        (401, VendorError("m", "invalid_authentication_error"), BadCredential),
        (403, VendorError("Your account has insufficient balance", "permission_denied_error"), OutOfQuota),
        (404, VendorError("m", "resource_not_found_error"), NoSuchDeployment),
        (429, VendorError("m", "rate_limit_reached_error"), Throttled),
        (429, VendorError("m", "exceeded_current_quota_error"), OutOfQuota),
        (429, VendorError("m", "engine_overloaded_error"), Unavailable),
        # Ark
        (400, VendorError("m", "", "InvalidParameter.x"), Rejected),
        (400, VendorError("m", "", "InvalidEndpoint.ClosedEndpoint"), NoSuchDeployment),
        (400, VendorError("m", "", "InputTextRiskDetection"), ContentFiltered),
        (400, VendorError("m", "", "SensitiveContentDetected"), ContentFiltered),
        (401, VendorError("m", "", "AuthenticationError"), BadCredential),
        (403, VendorError("m", "", "AccountOverdueError"), OutOfQuota),
        (404, VendorError("m", "", "ModelNotOpen"), NoSuchDeployment),
        (429, VendorError("m", "", "RateLimitExceeded.EndpointRPMExceeded"), Throttled),
        (429, VendorError("m", "", "SetLimitExceeded"), OutOfQuota),
        (429, VendorError("m", "", "ServerOverloaded"), Unavailable),
        # DeepSeek: by status
        (402, VendorError("Insufficient Balance", "unknown_error", "invalid_request_error"), OutOfQuota),
        (422, VendorError("m"), Rejected),
        (503, VendorError("m"), Unavailable),
        # Azure OpenAI
        (404, VendorError("m", "", "DeploymentNotFound"), NoSuchDeployment),
        # SiliconFlow: a bare text
        (401, VendorError("Invalid token"), BadCredential),
        (504, VendorError("Gateway timeout"), Timeout),
        # strangers
        (418, VendorError("m"), UpstreamError),
        (429, VendorError(""), Throttled),
        (307, VendorError(""), UpstreamError),
    ],
)
def test_codes_go_before_types_texts_and_status(status: int, error: VendorError, kind: type[UpstreamError]) -> None:
    codes = PRESETS["zhipu"].codes if error.code.isdecimal() else NO_CODES
    assert type(classify(status, error, secret=SECRET, codes=codes)) is kind


def test_only_texts_about_the_callers_request_are_passed_on() -> None:
    internal = "org-1234 project-77 at 10.0.0.7"
    for status in (401, 402, 403, 404, 408, 429, 500, 502, 503, 504, 529):
        error = classify(status, VendorError(internal), secret=SECRET)
        assert internal not in error.message
        assert internal in (error.raw or "")
    assert classify(400, VendorError("'temperature' is too high"), secret=SECRET).message == "'temperature' is too high"


def header(value: str, name: str = "retry-after") -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1", "replace"))]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2", 2.0),
        ("0.5", 0.5),
        (" 7 ", 7.0),
        ("100000", 86_400.0),
        ("1e9", 86_400.0),
        ("0", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("1e400", None),
        ("", None),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("0x10", None),
        ("9" * 5000, None),
    ],
)
def test_retry_after(value: str, expected: float | None) -> None:
    assert retry_after_s(header(value)) == expected


def test_a_date_is_so_many_seconds_away() -> None:
    moment = datetime.now(UTC) + timedelta(seconds=90)
    wait_s = retry_after_s(header(format_datetime(moment, usegmt=True)))
    assert wait_s is not None
    assert 60 < wait_s <= 90


def test_milliseconds_go_first_where_they_mean_something() -> None:
    both = header("250", "retry-after-ms") + header("9")
    assert retry_after_s(both) == 0.25
    assert retry_after_s(header("-1", "retry-after-ms") + header("9")) == 9
    assert retry_after_s([]) is None


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")))
@example(b"Mon, 00 Jan 2026 00:00:00 -9999")
@example(b"Mon, 1 Jan 0 0:0:0 +0000")
@example(b"1 Jan 2026 25:61:61 GMT")
@example(b"1_0")
def test_no_retry_after_breaks_it(value: bytes) -> None:
    for name in (b"retry-after", b"retry-after-ms"):
        wait_s = retry_after_s([(name, value)])
        assert wait_s is None or 0 < wait_s <= 86_400
