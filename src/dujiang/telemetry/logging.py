"""The process's log, on standard error: for what operators must see, never for single calls."""

import logging
import sys
from datetime import UTC, datetime
from typing import Literal

import msgspec

LogFormat = Literal["text", "json"]


class JsonLines(logging.Formatter):
    """One JSON object a line, so that nothing in a message can start another entry."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


class Text(logging.Formatter):
    """Lines for people. Control characters of a message are escaped; a trace keeps its own lines."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        shown = message if message.isprintable() else message.encode("unicode_escape").decode()
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {shown}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(form: LogFormat) -> None:
    """Send this process's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else Text())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in ("uvicorn.error", "alembic", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
