"""The emulator's own endpoints under `/_emulator/`: read and reset the counters, set a model's behaviour."""

import msgspec
from msgspec import Struct

from dujiang.emulator.behaviour import BadBehaviour, forms
from dujiang.emulator.conditions import Conditions
from dujiang.emulator.counters import Counters
from dujiang.emulator.dialect import Answer, Request
from dujiang.emulator.script import Script


class Setting(Struct, forbid_unknown_fields=True):
    """The body of `POST /_emulator/behaviour`. A null behaviour takes the model's default back."""

    model: str
    behaviour: str | None


class Control:
    """Answers what is asked about the emulator itself."""

    def __init__(self, counters: Counters, script: Script, conditions: Conditions) -> None:
        self._counters = counters
        self._script = script
        self._conditions = conditions

    def answer(self, request: Request) -> Answer:
        match request.method, request.path:
            case "GET", "/_emulator/counters":
                return Answer(msgspec.json.encode(self._counters.snapshot()))
            case "DELETE", "/_emulator/counters":
                self._counters.reset()
                self._conditions.reset()
                return Answer(msgspec.json.encode(self._counters.snapshot()))
            case "POST", "/_emulator/behaviour":
                return self._set_behaviour(request.body)
            case _, "/_emulator/counters" | "/_emulator/behaviour":
                return error(405, f"{request.method} is not allowed on {request.path}.", "method_not_allowed")
            case _:
                return error(404, f"The emulator has no {request.path}.", "not_found")

    def _set_behaviour(self, body: bytes) -> Answer:
        try:
            setting = msgspec.json.decode(body, type=Setting)
            self._script.set_default(setting.model, setting.behaviour)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, BadBehaviour) as problem:
            return error(400, str(problem), "invalid_request", known=forms())
        self._conditions.reset_model(setting.model)
        return Answer(msgspec.json.encode(setting))


def error(status: int, message: str, code: str, **more: object) -> Answer:
    """An error in the emulator's own name, for paths that belong to no vendor."""
    return Answer(msgspec.json.encode({"error": {"message": message, "code": code, **more}}), status)
