"""Who gets alerts: a small web server that writes down what it is sent."""

import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Message:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def is_signed_by(self, secret: str) -> bool:
        """As the documentation tells a receiver to find out."""
        parts = dict(part.split("=", 1) for part in self.headers["x-dujiang-signature"].split(","))
        signed = f"{parts['t']}.".encode() + self.body
        return hmac.compare_digest(parts["v1"], hmac.new(secret.encode(), signed, sha256).hexdigest())


@dataclass
class Inbox:
    """`answers` are the statuses of the next messages; 204 after them."""

    url: str
    messages: list[Message] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def of(self, kind: str, subject: str) -> list[Message]:
        return [
            each for each in self.messages if each.json["type"] == kind and each.json["budget"]["subject"] == subject
        ]


@contextmanager
def receiving() -> Iterator[Inbox]:
    inbox = Inbox("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = inbox.answers.pop(0) if inbox.answers else 204
            inbox.messages.append(Message(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{inbox.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    inbox.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, name="receiver")
    thread.start()
    try:
        yield inbox
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
