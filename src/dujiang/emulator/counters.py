"""What really arrived at the emulator, per model and per key: the oracle for retries, billing and cancellation."""

import msgspec
from msgspec import Struct

OAUTH = "oauth"
"""The name under which fetches of access tokens are counted, as if it were a model's."""


class Tally(Struct):
    """Calls of one model or one key.

    `completed`: a whole good answer was written to its end; neither an error nor a broken answer counts.
    `disconnected`: the caller left before its answer was written. `open_streams` and `in_flight` are now.
    """

    attempts: int = 0
    completed: int = 0
    disconnected: int = 0
    open_streams: int = 0
    in_flight: int = 0
    max_in_flight: int = 0


class Attempt:
    """One call as it is counted: begun once, ended once."""

    __slots__ = ("_is_ended", "_is_streaming", "_tallies")

    def __init__(self, tallies: tuple[Tally, ...]) -> None:
        self._tallies = tallies
        self._is_streaming = False
        self._is_ended = False
        for tally in tallies:
            tally.attempts += 1
            tally.in_flight += 1
            tally.max_in_flight = max(tally.max_in_flight, tally.in_flight)

    def open_stream(self) -> None:
        self._is_streaming = True
        for tally in self._tallies:
            tally.open_streams += 1

    def complete(self) -> None:
        self._end("completed")

    def disconnect(self) -> None:
        self._end("disconnected")

    def abandon(self) -> None:
        """End it as neither: the answer was an error, or the emulator broke it."""
        self._end(None)

    def _end(self, outcome: str | None) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        for tally in self._tallies:
            tally.in_flight -= 1
            tally.open_streams -= self._is_streaming
            if outcome is not None:
                setattr(tally, outcome, getattr(tally, outcome) + 1)


class Counters:
    """All tallies. Keys are kept as they came: this is a test tool, give it no real ones."""

    def __init__(self) -> None:
        self.models: dict[str, Tally] = {}
        self.keys: dict[str, Tally] = {}

    @property
    def token_fetches(self) -> int:
        """How often an access token was asked for, with or without success."""
        return self.model(OAUTH).attempts

    def begin(self, model: str, key: str) -> Attempt:
        """Count a call in. An empty name is not counted."""
        tallies: list[Tally] = []
        for name, table in ((model, self.models), (key, self.keys)):
            if name:
                tallies.append(table.get(name) or table.setdefault(name, Tally()))
        return Attempt(tuple(tallies))

    def model(self, name: str) -> Tally:
        """The tally of a model, all zero if it was never asked."""
        return self.models.get(name, Tally())

    def key(self, name: str) -> Tally:
        """The tally of a key, all zero if it was never used."""
        return self.keys.get(name, Tally())

    def snapshot(self) -> dict[str, object]:
        """A copy as JSON shows it: `{models: {NAME: {...}}, keys: {KEY: {...}}, token_fetches}`."""
        return {
            "models": msgspec.to_builtins(self.models),
            "keys": msgspec.to_builtins(self.keys),
            "token_fetches": self.token_fetches,
        }

    def reset(self) -> None:
        """Forget the past. Calls that are in flight stay in flight."""
        for table in (self.models, self.keys):
            for name, tally in list(table.items()):
                tally.attempts = tally.completed = tally.disconnected = 0
                tally.max_in_flight = tally.in_flight
                if not tally.in_flight:
                    del table[name]
