"""ERNIE V1 ("wenxinworkshop"): a key pair is exchanged for an access token, and errors come inside HTTP 200."""

from dujiang.emulator.ernie.v1.dialect import ErnieDialect
from dujiang.emulator.ernie.v1.oauth import TokenDialect
from dujiang.emulator.ernie.v1.tokens import Tokens

__all__ = ["ErnieDialect", "TokenDialect", "Tokens"]
