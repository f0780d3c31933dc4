"""Where V1's access tokens are fetched: `/oauth/2.0/token` with an application's key pair in the query."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from dujiang.core.ids import new_id
from dujiang.emulator.behaviour import Behaviour
from dujiang.emulator.counters import OAUTH
from dujiang.emulator.dialect import Allowance, Answer, Ask, Reason, Refused, Request, Stream
from dujiang.emulator.ernie.v1.tokens import Tokens

_PATH = "/oauth/2.0/token"
_UNKNOWN_AK = "ak-unknown"
_WRONG_SK = "sk-wrong"
_EXPIRES_IN_S = 2_592_000


class Failure(Struct, frozen=True):
    """An error of RFC 6749 §5.2, with Baidu's description."""

    status: int
    error: str
    description: str


FAILURES: dict[str, Failure] = {
    "unknown_client_id": Failure(401, "invalid_client", "unknown client id"),
    "invalid_client": Failure(401, "invalid_client", "Client authentication failed"),
    "invalid_request": Failure(400, "invalid_request", "invalid request"),
    "unsupported_grant_type": Failure(400, "unsupported_grant_type", "The grant type is not supported"),
    "server_error": Failure(500, "server_error", "internal server error"),
    "temporarily_unavailable": Failure(503, "temporarily_unavailable", "the service is temporarily unavailable"),
}
_BY_STATUS = {401: "invalid_client", 403: "invalid_client", 503: "temporarily_unavailable"}


class TokenDialect:
    """The token endpoint. Its behaviours and counters are those of the model `oauth`.

    Any key pair is good but for the API key `ak-unknown` and the secret key `sk-wrong`.
    """

    paths = ("/oauth/2.0/",)
    errors = frozenset(FAILURES)
    usual_errors: Mapping[Reason, str] = {
        "broken": "server_error",
        "throttled": "temporarily_unavailable",
        "quota": "temporarily_unavailable",
    }

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def page(self, request: Request, models: list[str]) -> Answer | None:
        if request.path != _PATH:
            return _answer(FAILURES["invalid_request"], 404)
        return None if request.method in ("GET", "POST") else _answer(FAILURES["invalid_request"], 405)

    def read(self, request: Request) -> Ask:
        client_id = request.parameter("client_id")
        failure = _refused(request.parameter("grant_type"), client_id, request.parameter("client_secret"))
        if failure is not None:
            raise Refused(_answer(failure, failure.status), OAUTH)
        return _TokenAsk(self._tokens, client_id)

    def failure(self, error: str | None, status: int | None, model: str, allowance: Allowance) -> Answer:
        usual = _BY_STATUS.get(status or 500, "invalid_request" if status and status < 500 else "server_error")
        failure = FAILURES[error or usual]
        return _answer(failure, status or failure.status)

    def refusal(self, message: str) -> Answer:
        return _answer(Failure(400, "unknown_behaviour", message), 400)


class _TokenAsk:
    """A valid fetch of a token."""

    model = OAUTH
    key = ""
    is_stream = False

    def __init__(self, tokens: Tokens, client_id: str) -> None:
        self._tokens = tokens
        self._client_id = client_id

    def admit(self, behaviour: Behaviour) -> None:
        """A key pair lasts."""

    def whole(self, behaviour: Behaviour, allowance: Allowance) -> Answer:
        wanted_s = behaviour.token_expires_in_s
        expires_in_s = _EXPIRES_IN_S if wanted_s is None else wanted_s
        token = self._tokens.issue(self._client_id, expires_in_s)
        fields = {
            "refresh_token": f"25{token.text[2:]}",
            "expires_in": expires_in_s,
            "session_key": new_id(),
            "access_token": token.text,
            "scope": "public brain_all_scope ai_custom_yiyan_com",
            "session_secret": new_id().replace("-", ""),
        }
        return Answer(msgspec.json.encode(fields))

    def stream(self, behaviour: Behaviour, allowance: Allowance) -> Stream:
        """Never asked for: a fetch is no stream."""
        return Stream(b"", (), (self.whole(behaviour, allowance).body,), (), None)


def _refused(grant_type: str, client_id: str, client_secret: str) -> Failure | None:
    if grant_type != "client_credentials":
        return FAILURES["unsupported_grant_type"]
    if client_id in ("", _UNKNOWN_AK):
        return FAILURES["unknown_client_id"]
    return FAILURES["invalid_client"] if client_secret in ("", _WRONG_SK) else None


def _answer(failure: Failure, status: int) -> Answer:
    body = {"error_description": failure.description, "error": failure.error}
    return Answer(msgspec.json.encode(body), status)
