"""OpenAI's wire format for the emulator: chat completions, the list of models, a self-hosted server's `/health`."""

import time
from collections.abc import Mapping
from urllib.parse import unquote

import msgspec

from dujiang.emulator.dialect import FULL_ALLOWANCE, Allowance, Answer, Ask, Reason, Refused, Request
from dujiang.emulator.openai import failures
from dujiang.emulator.openai.answer import ChatAsk
from dujiang.emulator.openai.failures import FAILURES, Failure
from dujiang.emulator.openai.message import InvalidChat
from dujiang.emulator.openai.request import read_chat, read_model

_CHAT = "/v1/chat/completions"
_MODELS = "/v1/models"
_OWN_MODELS = ("gpt-4-0613", "gpt-4o-mini")
_HEALTH = "/health"
_REFUSED_KEY = "sk-invalid"
_STATUSES = ("400", "401", "403", "404", "408", "409", "413", "422", "429", "500", "502", "503", "504")


class OpenAiDialect:
    """The wire that OpenAI and most others speak. Any bearer but `sk-invalid` is a good key."""

    paths = ("/v1/", _HEALTH)
    errors = frozenset((*FAILURES, *_STATUSES))
    usual_errors: Mapping[Reason, str] = {
        "broken": "server_error",
        "throttled": "rate_limit_exceeded",
        "quota": "insufficient_quota",
    }

    def page(self, request: Request, models: list[str]) -> Answer | None:
        path = request.path
        if path == _CHAT:
            return None if request.method == "POST" else _wrong_method(request)
        if path == _HEALTH:
            return Answer(b"") if request.method == "GET" else _wrong_method(request)
        if path != _MODELS and not path.startswith(f"{_MODELS}/"):
            return _refusal(404, f"Invalid URL ({request.method} {path})")
        if request.method != "GET":
            return _wrong_method(request)
        refused = _refused_key(_key(request))
        return refused or _models(path, sorted({*_OWN_MODELS, *models}))

    def read(self, request: Request) -> Ask:
        key = _key(request)
        refused = _refused_key(key)
        if refused is not None:
            raise Refused(refused, read_model(request.body), key)
        try:
            return ChatAsk(read_chat(request.body), key)
        except InvalidChat as problem:
            answer = _refusal(400, problem.message, param=problem.param, code=problem.code)
            raise Refused(answer, read_model(request.body), key) from None

    def failure(self, error: str | None, status: int | None, model: str, allowance: Allowance) -> Answer:
        failure = failures.named(error) if error is not None else failures.by_status(status or 500)
        if status is not None:
            failure = msgspec.structs.replace(failure, status=status)
        return failures.answer(failure, model, allowance)

    def refusal(self, message: str) -> Answer:
        return _refusal(400, message, code="unknown_behaviour")


def _key(request: Request) -> str:
    """The bearer's key; an empty string without a header, since self-hosted servers ask for none."""
    key = request.bearer()
    return "" if key is None else key or _REFUSED_KEY


def _refused_key(key: str) -> Answer | None:
    if key == _REFUSED_KEY:
        return _refusal(401, "Incorrect API key provided: sk-inv***lid.", code="invalid_api_key")
    return None


def _refusal(status: int, message: str, *, param: str | None = None, code: str | None = None) -> Answer:
    return failures.answer(Failure(status, message, param=param, code=code), "", FULL_ALLOWANCE)


def _wrong_method(request: Request) -> Answer:
    message = f"Not allowed to {request.method} on {request.path}."
    return _refusal(405, message, code="method_not_supported")


def _models(path: str, models: list[str]) -> Answer:
    wanted = unquote(path.removeprefix(_MODELS).lstrip("/"))
    cards = [{"id": model, "object": "model", "created": int(time.time()), "owned_by": "emulated"} for model in models]
    if not wanted:
        return Answer(msgspec.json.encode({"object": "list", "data": cards}))
    found = [card for card in cards if card["id"] == wanted]
    if not found:
        return failures.answer(FAILURES["model_not_found"], wanted, FULL_ALLOWANCE)
    return Answer(msgspec.json.encode(found[0]))
