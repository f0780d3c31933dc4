"""A gateway in front of emulated targets, one emulated model each, whose behaviour a row sets and changes."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway import Gateway, _set_behaviour, serving

from dujiang.emulator.background import running
from dujiang.emulator.server import Emulator

KEY = "sk-emulated"


class Scene(Gateway):
    """A gateway, and the emulator behind it."""

    emulator: Emulator

    def behave(self, **behaviours: str) -> None:
        """How targets answer from now on."""
        for target, behaviour in behaviours.items():
            _set_behaviour(self.emulator, target, behaviour)

    def attempts(self, *targets: str) -> int:
        """How many calls arrived at some targets."""
        return sum(self.emulator.counters.model(target).attempts for target in targets)

    def in_flight(self, *targets: str) -> int:
        return sum(self.emulator.counters.model(target).in_flight for target in targets)

    @property
    def health(self) -> dict[str, str]:
        """The state of each target, by the name of its emulated model."""
        providers = self.ask("/api/v1/health").json["components"]["providers"]
        return {name.partition("/")[2]: seen["state"] for each in providers.values() for name, seen in each.items()}


def document(
    models: Mapping[str, tuple[str, ...]],
    resilience: Mapping[str, Any],
    of_models: Mapping[str, Mapping[str, Any]],
    keys: Mapping[str, str],
    **sections: Any,
) -> str:
    """Models by their targets, each of a provider of its own name, all with these keys. `of_models` is the `resilience`
    of single models.
    """
    targets = sorted({target for each in models.values() for target in each})
    return json.dumps(
        {
            "providers": {
                target: {
                    "kind": "openai",
                    "base_url": "${OPENAI_BASE_URL}",
                    "allow_private_network": True,
                    "credentials": [{"name": name, "secret": secret} for name, secret in keys.items()],
                }
                for target in targets
            },
            "models": {
                name: {
                    "targets": [{"provider": target, "model": target} for target in targets],
                    "resilience": dict(of_models.get(name, {})),
                }
                for name, targets in models.items()
            },
            "roles": {"admin": {"permissions": ["*"]}, "user": {"permissions": ["chat:call"]}},
            "resilience": dict(resilience),
            **sections,
        }
    )


@contextmanager
def scene(
    data_dir: Path,
    behaviours: Mapping[str, str],
    resilience: Mapping[str, Any] = {},
    *,
    models: Mapping[str, tuple[str, ...]] | None = None,
    of_models: Mapping[str, Mapping[str, Any]] = {},
    keys: Mapping[str, str] = {"main": KEY},
    **sections: Any,
) -> Generator[Scene]:
    """A server whose model `m`, where no others are named, has one target for each behaviour."""
    written = document(models or {"m": tuple(behaviours)}, resilience, of_models, keys, **sections)
    with (
        running(behaviours) as emulator,
        serving(data_dir, written, environ={"OPENAI_BASE_URL": f"{emulator.url}/v1"}) as gateway,
    ):
        played = Scene(gateway.url, gateway.port, gateway.process, gateway.data_dir)
        played.emulator = emulator
        yield played
