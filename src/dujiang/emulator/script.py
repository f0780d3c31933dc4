"""Which behaviour a call gets: from its header, a default set at run time or in a file, or its model's name."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from dujiang.emulator.behaviour import BadBehaviour, Behaviour, parse, parse_model_name

_MAX_FILE_BYTES = 1_048_576
_OK = Behaviour()


class BadScript(ValueError):
    """A script file that cannot be used; the message says why."""


class Script:
    """Behaviours by model. Precedence: header, run-time default, script file, model name, `ok`."""

    def __init__(self, errors: frozenset[str], models: Mapping[str, str] | None = None) -> None:
        """`errors` are the names that `error=` may take, `models` the file's defaults. Raises `BadBehaviour`."""
        self._errors = errors
        self._from_file = {model: parse(text, errors) for model, text in (models or {}).items()}
        self._at_run_time: dict[str, Behaviour] = {}

    @property
    def models(self) -> list[str]:
        """The models that have a default, in alphabetical order."""
        return sorted({*self._from_file, *self._at_run_time})

    def set_default(self, model: str, text: str | None) -> None:
        """Set a model's default, or with None take it back. Raises `BadBehaviour`."""
        if text is None:
            self._at_run_time.pop(model, None)
        else:
            self._at_run_time[model] = parse(text, self._errors)

    def choose(self, model: str, header: bytes | None, errors: frozenset[str]) -> Behaviour:
        """The behaviour of a call; `errors` are those of its dialect. Raises `BadBehaviour` on a bad header."""
        if header is not None:
            return parse(header.decode("latin-1"), errors)
        chosen = self._at_run_time.get(model) or self._from_file.get(model) or parse_model_name(model, errors) or _OK
        if chosen.error is not None and chosen.error not in errors:
            raise BadBehaviour(f"Unknown error {chosen.error!r} on this path. Known: {', '.join(sorted(errors))}.")
        return chosen


def load(path: Path) -> dict[str, str]:
    """Read a script file: YAML or JSON, a mapping of model to behaviour. Raises `BadScript`."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise BadScript(f"{path} is larger than {_MAX_FILE_BYTES} bytes.")
        return msgspec.yaml.decode(path.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError) as problem:
        raise BadScript(f"{path}: {problem}") from None
