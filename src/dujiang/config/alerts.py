"""Where alerts go, by the newest revision of the document."""

from collections.abc import Mapping

import msgspec

from dujiang.config.entries import Tree
from dujiang.config.environment import UnresolvedReference, expand
from dujiang.config.history import NO_REVISION, History
from dujiang.config.settings import AlertSettings
from dujiang.config.stored import ALERTS
from dujiang.core.errors import Misconfigured
from dujiang.core.secret import Secret, read_secret, stored_name
from dujiang.providers.address import split_url
from dujiang.providers.binding import binding_of
from dujiang.providers.credentials import Reveal
from dujiang.storage.database import Database, answering
from dujiang.telemetry.alerts import Receiver

_KEY = (ALERTS, "")


class Receivers:
    """Reads of the document that section alone, and only when there is another revision. Every call blocks; not for
    several threads at once.
    """

    def __init__(self, database: Database, reveal: Reveal, environ: Mapping[str, str]) -> None:
        self._history = History(database)
        self._reveal = reveal
        self._environ = environ
        self._revision: int = NO_REVISION
        self._settings = AlertSettings()

    def newest(self) -> Receiver | None:
        """None where the document names none. Raises `DatabaseAway`, and `Misconfigured` for a secret or an address
        that cannot be used here.
        """
        with answering():
            self._follow()
            try:
                url = expand(self._settings.url, self._environ)
                if not url:
                    return None
                split_url(url)
                return Receiver(url, self._secret(url), self._settings.allow_private_network)
            except UnresolvedReference as error:
                raise Misconfigured(f"Alerts cannot be sent: {error}.", reason="environment") from None
            except ValueError as error:
                raise Misconfigured(f"Alerts cannot be sent: their address {error}.", reason="address") from None

    def _follow(self) -> None:
        head = self._history.head()
        if head == self._revision:
            return
        digest = self._history.digests(head).get(_KEY)
        part: Tree = self._history.parts([digest])[digest] if digest is not None else {}
        self._settings = msgspec.convert(part, AlertSettings, dec_hook=read_secret)
        self._revision = head

    def _secret(self, url: str) -> Secret:
        written = self._settings.secret.reveal()
        stored = stored_name(written)
        if stored is not None:
            return self._reveal(stored, binding_of(ALERTS, url))
        return Secret(expand(written, self._environ))
