"""What the server runs for us, whole or not at all. The scripts lie beside this file; each says what it takes."""

from hashlib import sha1
from importlib.resources import files
from typing import Final

from dujiang.storage.rates import FULL_S
from dujiang.storage.store import DEBT_S, PERIOD_S

PREFIX: Final = "dujiang:"
"""How every key begins."""

_EPOCH_MS = 30 * 24 * 3600 * 1000
_SENT_MS = 24 * 3600 * 1000
_CONSTANTS = f"""
local PERIOD_S, FULL_S, DEBT_S = {PERIOD_S!r}, {FULL_S!r}, {DEBT_S!r}
local EPOCH_MS, SENT_MS = {_EPOCH_MS}, {_SENT_MS}
"""


class Script:
    """A script, by the name that the server calls it: the SHA-1 of its text."""

    def __init__(self, *parts: str) -> None:
        folder = files("dujiang.storage.redis") / "lua"
        texts = [(folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("clock", *parts)]
        self.text = _CONSTANTS + "\n".join(texts)
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


ADMIT = Script("counter", "admit")
LEAVE = Script("counter", "leave")
RESERVE = Script("account", "reserve")
SETTLE = Script("settle")
OPEN = Script("account", "open")
CORRECT = Script("account", "correct")
BALANCES = Script("account", "balances")
RENEW = Script("renew")
GREET = Script("greet")

SCRIPTS = (ADMIT, LEAVE, RESERVE, SETTLE, OPEN, CORRECT, BALANCES, RENEW, GREET)
