"""A model file at an HTTP address: resumable, bounded by the official size, no credentials."""

import http.client
import re
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from dujiang import __version__
from dujiang.providers.embedded.source import Received, SourceFailed, held_bytes

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
_MAX_CUTS = 20
_READ_BYTES = 256 << 10
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class RemoteFile:
    """A source: an `http://` or `https://` address, redirects followed, proxies of the environment honoured."""

    scratch_bytes = 0

    def __init__(self, url: str) -> None:
        self.url = url
        self.label = _shown(url)

    def fetch(self, part: Path, size: int, received: Received) -> None:
        if urlsplit(self.url).username is not None:
            raise SourceFailed("an address with a user name or password is not supported")
        if held_bytes(part) > size:
            part.unlink()
        cuts = 0
        while (before := held_bytes(part)) < size:
            try:
                self._go_on(part, size, received)
            except (OSError, http.client.HTTPException) as cut:
                cuts += 1
                if held_bytes(part) <= before or cuts == _MAX_CUTS:
                    raise SourceFailed(_reason(cut)) from cut

    def _go_on(self, part: Path, size: int, received: Received) -> None:
        """One request for what is missing. A connection that ends early is an `HTTPException` or an `OSError`."""
        held = held_bytes(part)
        with _open(self.url, held) as response:
            start = _start(response, held)
            if response.length is not None and start + response.length != size:
                raise SourceFailed(f"it serves {start + response.length:,} bytes, the official file has {size:,}")
            with part.open("r+b" if start else "wb") as file:
                file.seek(start)
                file.truncate()
                while (missing := size - file.tell()) > 0:
                    chunk = response.read(min(_READ_BYTES, missing))
                    if not chunk:
                        raise http.client.IncompleteRead(b"", missing)
                    file.write(chunk)
                    received(file.tell())


class _Connection(http.client.HTTPConnection):
    """Connects within `CONNECT_TIMEOUT_S`; then each read may take `READ_TIMEOUT_S`."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(READ_TIMEOUT_S)


class _TlsConnection(http.client.HTTPSConnection):
    """The same over TLS; the handshake belongs to connecting."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(READ_TIMEOUT_S)


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TlsConnection, req, context=ssl.create_default_context())


def _open(url: str, held: int) -> http.client.HTTPResponse:
    """Ask for the bytes from `held` on. Raises `SourceFailed` for a refusal, `OSError` where there is no answer.

    The opener is put together by hand because the standard one also opens `file:` and `ftp:` redirects.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _Http(),
        _Https(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    headers = {"User-Agent": f"dujiang/{__version__}"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the opener knows http and https only
    if held:
        request.add_header("Range", f"bytes={held}-")
    try:
        return opener.open(request, timeout=CONNECT_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        raise SourceFailed(f"it answered {error.code} {error.reason}".rstrip()) from error


def _start(response: http.client.HTTPResponse, held: int) -> int:
    """Where the answer's bytes begin: a server that ignores `Range` sends the whole file again (RFC 9110 §14.2)."""
    if response.status != http.client.PARTIAL_CONTENT:
        return 0
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) > held:
        raise SourceFailed("it answered 206 with another range than the one asked for")
    return int(match[1])


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError):
        return f"no connection: {error.reason}"
    if isinstance(error, TimeoutError):
        return f"no bytes for {READ_TIMEOUT_S:.0f} s; run it again to go on"
    cause = error.strerror if isinstance(error, OSError) else None
    return f"it broke off ({cause or type(error).__name__}); run it again to go on"


def _shown(url: str) -> str:
    """The address without what might be secret: user, password, query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
