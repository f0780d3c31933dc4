"""ERNIE V1's wire format for the emulator: chats at the models' paths, with an access token in the query."""

from collections.abc import Mapping
from urllib.parse import unquote

from dujiang.emulator.dialect import FULL_ALLOWANCE, Allowance, Answer, Ask, Reason, Refused, Request
from dujiang.emulator.ernie.v1 import failures
from dujiang.emulator.ernie.v1.answer import TOKEN_CODES, ErnieAsk
from dujiang.emulator.ernie.v1.failures import FAILURES
from dujiang.emulator.ernie.v1.request import InvalidChat, read_chat
from dujiang.emulator.ernie.v1.tokens import Token, Tokens

_SERVICE = "/rpc/2.0/ai_custom/v1/wenxinworkshop/"
_CHAT = f"{_SERVICE}chat/"


class ErnieDialect:
    """The chats. A model goes by its path (`completions_pro`, not `ERNIE-4.0-8K`), a token by its client's API key."""

    paths = (_SERVICE,)
    errors = frozenset(FAILURES)
    usual_errors: Mapping[Reason, str] = {"broken": "336000", "throttled": "336501", "quota": "17"}

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def page(self, request: Request, models: list[str]) -> Answer | None:
        path = _model(request)
        if not request.path.startswith(_CHAT) or not path or "/" in path or path != path.lower():
            return failures.answer("3", FULL_ALLOWANCE)
        return None if request.method == "POST" else failures.answer("336101", FULL_ALLOWANCE)

    def read(self, request: Request) -> Ask:
        path = _model(request)
        token = self._token(request.parameter("access_token"), path)
        try:
            return ErnieAsk(read_chat(request.body, path), path, token, self._tokens)
        except InvalidChat as problem:
            answer = failures.answer(problem.code, FULL_ALLOWANCE, message=problem.message)
            raise Refused(answer, path, token.client_id) from None

    def failure(self, error: str | None, status: int | None, model: str, allowance: Allowance) -> Answer:
        code = error if error is not None else failures.by_status(status or 500)
        return failures.answer(code, allowance, status=200 if status is None else status)

    def refusal(self, message: str) -> Answer:
        return failures.answer("336001", FULL_ALLOWANCE, message=message, status=400)

    def _token(self, text: str, path: str) -> Token:
        """The token of that text. Raises `Refused` for none, an unknown one and one that has ended."""
        if not text:
            raise Refused(failures.answer("100", FULL_ALLOWANCE), path)
        token = self._tokens.find(text)
        if token is None:
            raise Refused(failures.answer(TOKEN_CODES["invalid"], FULL_ALLOWANCE), path)
        state = self._tokens.state(token)
        if state != "valid":
            raise Refused(failures.answer(TOKEN_CODES[state], FULL_ALLOWANCE), path, token.client_id)
        return token


def _model(request: Request) -> str:
    return unquote(request.path.removeprefix(_CHAT))
