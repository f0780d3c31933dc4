"""The access tokens that were issued: whose they are, and how each of them ends."""

import time
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from dujiang.core.ids import new_id
from dujiang.emulator.behaviour import TokenEnd

_MOST = 10_000

State = Literal["valid", "invalid", "expired"]


class Token(Struct):
    """One token. `expires_at` is a time of the clock; `calls` counts the chats that it was good for."""

    text: str
    client_id: str
    expires_at: float
    calls: int = 0
    state: State = "valid"


class Tokens:
    """All tokens. Any number of one client's are good at a time; the oldest are forgotten above 10,000.

    `clock` tells monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens: dict[str, Token] = {}

    def issue(self, client_id: str, expires_in_s: int) -> Token:
        """A new token, in the form of Baidu's."""
        text = f"24.{new_id().replace('-', '')}.{expires_in_s}.{int(time.time()) + expires_in_s}.282335-emulated"
        token = self._tokens[text] = Token(text, client_id, self._clock() + expires_in_s)
        if len(self._tokens) > _MOST:
            del self._tokens[next(iter(self._tokens))]
        return token

    def find(self, text: str) -> Token | None:
        return self._tokens.get(text)

    def spend(self, token: Token, end: TokenEnd | None) -> State:
        """Use a token for a chat, if it is still good; `end` makes it end for good once it had its calls."""
        if self.state(token) == "valid" and end is not None and token.calls >= end.calls:
            token.state = end.state
        state = self.state(token)
        token.calls += state == "valid"
        return state

    def state(self, token: Token) -> State:
        if token.state == "valid" and self._clock() >= token.expires_at:
            token.state = "expired"
        return token.state
