"""Reading server-sent events (WHATWG HTML §9.2) from bytes that may be cut anywhere."""

LINE_BYTES = 1024 * 1024


class EventTooLong(ValueError):
    """A line or an event is longer than `LINE_BYTES`."""


class EventDecoder:
    """Splits a byte stream into the payloads of its events.

    Lines end in LF, CRLF or CR; several `data` lines join with LF; comments and other fields are skipped. A line that
    is JSON without any field name is a payload too: some services send their errors so.
    """

    __slots__ = ("_data", "_is_first", "_line", "_size", "_skip_lf")

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._skip_lf = False
        self._is_first = True

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that `data` completes. Raises `EventTooLong`."""
        if (
            not self._line
            and not self._data
            and data[:6] == b"data: "
            and data.find(b"\n") == len(data) - 2
            and data[-1:] == b"\n"
            and b"\r" not in data
        ):
            self._is_first = self._skip_lf = False
            return [data[6:-2]]
        return self._feed_any(data)

    def flush(self) -> list[bytes]:
        """The payload that the stream ended in, if it ended without a blank line."""
        events: list[bytes] = []
        if self._line:
            self._take(bytes(self._line), events)
            self._line.clear()
        if self._data:
            self._dispatch(events)
        return events

    def _feed_any(self, data: bytes) -> list[bytes]:
        if self._skip_lf and data:
            self._skip_lf = False
            if data[:1] == b"\n":
                data = data[1:]
        if data[-1:] == b"\r":
            self._skip_lf = True
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        events: list[bytes] = []
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._line += line
            self._take(bytes(self._line), events)
            self._line.clear()
        self._line += rest
        if len(self._line) > LINE_BYTES:
            raise EventTooLong
        return events

    def _take(self, line: bytes, events: list[bytes]) -> None:
        if self._is_first:
            self._is_first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            if self._data:
                self._dispatch(events)
        elif line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            self._size += len(value)
            if self._size > LINE_BYTES:
                raise EventTooLong
            self._data.append(value)
        elif line.lstrip()[:1] in (b"{", b"["):
            events.append(line.strip())

    def _dispatch(self, events: list[bytes]) -> None:
        events.append(b"\n".join(self._data))
        self._data = []
        self._size = 0
