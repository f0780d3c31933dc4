"""What a vendor's wire format offers to the emulator: requests read strictly, answers written faithfully, no I/O."""

from collections.abc import Mapping
from typing import Literal, Protocol
from urllib.parse import parse_qs

from msgspec import Struct

from dujiang.emulator.behaviour import Behaviour

Reason = Literal["broken", "throttled", "quota"]
"""Why a call fails when its behaviour names no error; a dialect says which of its errors that is."""

DEFAULT_CHUNKS = 8


class Request(Struct):
    """One HTTP request, read to its end. Header names are in lower case."""

    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes
    keeps_alive: bool = True
    is_http_10: bool = False
    query: str = ""

    def parameter(self, name: str) -> str:
        """The first value of a parameter of the query, decoded; an empty string where there is none."""
        return parse_qs(self.query).get(name, [""])[0]

    def bearer(self) -> str | None:
        """The key of `Authorization: Bearer KEY`: None without that header, empty if there is no such key in it."""
        header = self.headers.get(b"authorization")
        if header is None:
            return None
        scheme, _, key = header.partition(b" ")
        return key.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""


class Allowance(Struct, frozen=True):
    """What is left of a limit, for the headers that tell it."""

    limit: int = 10_000
    remaining: int = 9_999
    reset_s: float = 0.006


FULL_ALLOWANCE = Allowance()


class Answer(Struct, frozen=True):
    """A whole answer. `headers` are complete header lines, without those of type and length."""

    body: bytes
    status: int = 200
    headers: bytes = b""
    content_type: bytes = b"application/json"


class Stream(Struct, frozen=True):
    """An answer in events: payloads without their framing. Only `content` is paced, counted and cut.

    `line` is text that is no event, written before the terminator; `error_form` says which of the two an error is.
    """

    headers: bytes
    opening: tuple[bytes, ...]
    content: tuple[bytes, ...]
    closing: tuple[bytes, ...]
    terminator: bytes | None
    line: bytes = b""
    error_form: Literal["event", "line"] = "event"


class Refused(Exception):
    """The request breaks the vendor's rules. `model` and `key` are what could still be read of it, for the counters."""

    def __init__(self, answer: Answer, model: str = "", key: str = "") -> None:
        super().__init__(answer.status)
        self.answer = answer
        self.model = model
        self.key = key


class Ask(Protocol):
    """A valid call for an answer."""

    @property
    def model(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def is_stream(self) -> bool: ...

    def admit(self, behaviour: Behaviour) -> None:
        """Called once, before anything is answered. Raises `Refused` if the behaviour ends what the call came with."""
        ...

    def whole(self, behaviour: Behaviour, allowance: Allowance) -> Answer: ...

    def stream(self, behaviour: Behaviour, allowance: Allowance) -> Stream: ...


class Dialect(Protocol):
    """One vendor's wire format. `paths` are the path prefixes it owns; `errors` the names that `error=` may take."""

    @property
    def paths(self) -> tuple[str, ...]: ...

    @property
    def errors(self) -> frozenset[str]: ...

    @property
    def usual_errors(self) -> Mapping[Reason, str]: ...

    def page(self, request: Request, models: list[str]) -> Answer | None:
        """The answer to what is no call (a list of models, an unknown path); None for a call, which `read` takes.

        `models` are those of the script; the dialect lists its own beside them.
        """
        ...

    def read(self, request: Request) -> Ask:
        """Raises `Refused` as strictly as the vendor does."""
        ...

    def failure(self, error: str | None, status: int | None, model: str, allowance: Allowance) -> Answer:
        """The vendor's error by its name, its status, or both: then the name's body under that status."""
        ...

    def refusal(self, message: str) -> Answer:
        """A 400 in the vendor's form, for a behaviour that cannot be read."""
        ...
