"""Qianfan V2's wire format for the emulator: chat completions and the list of models."""

import re
import time
from collections.abc import Mapping

import msgspec

from dujiang.emulator.dialect import FULL_ALLOWANCE, Allowance, Answer, Ask, Reason, Refused, Request
from dujiang.emulator.ernie.marks import headers
from dujiang.emulator.ernie.v2 import failures
from dujiang.emulator.ernie.v2.answer import QianfanAsk
from dujiang.emulator.ernie.v2.failures import FAILURES, INVALID, NAMES, Failure
from dujiang.emulator.ernie.v2.request import Rejected, read_chat
from dujiang.emulator.openai.request import read_model

_CHAT = "/v2/chat/completions"
_MODELS = "/v2/models"
_OWN_MODELS = ("ernie-4.0-8k", "ernie-4.5-turbo-128k", "ernie-lite-8k", "ernie-speed-128k")
_KEY = re.compile(r"bce-v3/ALTAK-(?!invalid/)[^/\s]+/[^/\s]+")
_WRONG_APP = b"app-wrong"


class QianfanDialect:
    """The chats. A good key is any `bce-v3/ALTAK-…/…` but `ALTAK-invalid`, a good `appid` any but `app-wrong`."""

    paths = ("/v2/",)
    errors = NAMES
    usual_errors: Mapping[Reason, str] = {
        "broken": "internal_error",
        "throttled": "rpm_rate_limit_exceeded",
        "quota": "account_overdue",
    }

    def page(self, request: Request, models: list[str]) -> Answer | None:
        if request.path == _CHAT:
            return None if request.method == "POST" else _refusal(FAILURES["method_not_supported"])
        if request.path != _MODELS:
            return _refusal(Failure(404, INVALID, "not_found", f"{request.path} does not exist"))
        if request.method != "GET":
            return _refusal(FAILURES["method_not_supported"])
        refused = _refused_credential(request)
        return _refusal(refused) if refused else _models(sorted({*_OWN_MODELS, *models}))

    def read(self, request: Request) -> Ask:
        key = request.bearer() or ""
        refused = _refused_credential(request)
        try:
            if refused is not None:
                raise Rejected(refused)
            return QianfanAsk(read_chat(request.body), key)
        except Rejected as problem:
            raise Refused(_refusal(problem.failure), read_model(request.body), key) from None

    def failure(self, error: str | None, status: int | None, model: str, allowance: Allowance) -> Answer:
        failure = failures.named(error) if error is not None else failures.by_status(status or 500)
        if status is not None:
            failure = msgspec.structs.replace(failure, status=status)
        return failures.answer(failure, allowance)

    def refusal(self, message: str) -> Answer:
        return _refusal(Failure(400, INVALID, "unknown_behaviour", message))


def _refused_credential(request: Request) -> Failure | None:
    if not _KEY.fullmatch(request.bearer() or ""):
        return FAILURES["invalid_iam_token"]
    return FAILURES["invalid_appid"] if request.headers.get(b"appid") == _WRONG_APP else None


def _refusal(failure: Failure) -> Answer:
    return failures.answer(failure, FULL_ALLOWANCE)


def _models(models: list[str]) -> Answer:
    cards = [{"id": model, "object": "model", "created": int(time.time()), "owned_by": "emulated"} for model in models]
    return Answer(msgspec.json.encode({"object": "list", "data": cards}), headers=headers(FULL_ALLOWANCE))
