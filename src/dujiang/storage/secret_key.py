"""Where the key of stored secrets comes from: the environment, else a file in the data directory."""

import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dujiang.core.errors import Misconfigured
from dujiang.core.strength import weakness
from dujiang.storage.encryption import EncryptionKey, Keychain

VARIABLE = "DUJIANG_SECRET_KEY"
OLD_VARIABLE = "DUJIANG_SECRET_KEY_OLD"
FILE_NAME = "secret.key"
MIN_CHARACTERS = 32
MAX_CHARACTERS = 1024

_RANDOM_BYTES = 32
_READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def open_keychain(data_dir: Path, environ: Mapping[str, str]) -> Keychain:
    """The key that `DUJIANG_SECRET_KEY` gives, else the file's. What is given besides it only decrypts.

    Raises `Misconfigured` for a key that is missing or weak, and for a file that cannot be read or that others can.
    """
    given = environ.get(VARIABLE)
    if given is not None:
        require_strong(given)
    texts = [given, _read(data_dir / FILE_NAME), environ.get(OLD_VARIABLE)]
    keys = [EncryptionKey(text.encode()) for text in texts if text]
    if given is None and texts[1] is None:
        raise Misconfigured(
            f"There is no key for stored secrets: set {VARIABLE}, or start the server once to make one."
        )
    return Keychain(*keys)


def make_key_file(data_dir: Path, environ: Mapping[str, str]) -> Path | None:
    """Leaves a random key in the data directory where nobody gave one; its path when it was made just now.

    It is there whole or not at all, and for its owner only. Raises `Misconfigured` when it cannot be written.
    """
    path = data_dir / FILE_NAME
    if VARIABLE in environ or path.exists():
        return None
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path if _create(path, secrets.token_hex(_RANDOM_BYTES) + "\n") else None
    except OSError as error:
        raise Misconfigured(f"The key file {path} cannot be written: {error.strerror}.") from error


def require_strong(key: str) -> None:
    """Raises `Misconfigured` for a key that could be guessed; the message never repeats it."""
    fault = weakness(key, least=MIN_CHARACTERS, most=MAX_CHARACTERS)
    if fault:
        raise Misconfigured(f"{VARIABLE} {fault}. Make one with `openssl rand -hex 32`, or unset it.", param=VARIABLE)


def _create(path: Path, text: str) -> bool:
    """Write a file whole and durably; False where one is there already."""
    number, draft = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        Path(draft).unlink()
    _sync_folder(path.parent)
    return True


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(MAX_CHARACTERS + 2)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Misconfigured(f"The key file {path} cannot be read: {error.strerror}.") from error
    if mode & _READABLE_BY_OTHERS:
        raise Misconfigured(f"The key file {path} is open to other users: run `chmod 600` on it.")
    key = text.decode("ascii", "replace").strip()
    fault = weakness(key, least=MIN_CHARACTERS, most=MAX_CHARACTERS)
    if fault:
        raise Misconfigured(f"The key file {path} {fault}: restore it from your copy.")
    return key
