"""Takes secrets and personal numbers out of what was said, before it is kept, unless its app keeps all of it."""

from collections.abc import Sequence

from msgspec.structs import replace

from dujiang.records.drain import Sink
from dujiang.records.masking import mask, mask_json
from dujiang.records.record import Content, Json, Record


class MaskingSink:
    """A sink that hands on masked records."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def insert(self, batch: Sequence[Record]) -> int:
        return self._sink.insert([_masked(record) for record in batch])


def _masked(record: Record) -> Record:
    """Vendors like to repeat a prompt in the text of an error, and what names no model may be anything, a key pasted
    into the wrong place. Both are masked whatever the policy: to read them, nobody needs the permission for content.
    """
    content, error_text = record.content, record.error_text
    if content is None and error_text is None:
        return record
    return replace(
        record,
        content=_masked_content(content) if content is not None and content.is_masked else content,
        error_text=mask(error_text) if error_text is not None else None,
        model_requested=record.model_requested if record.model else mask(record.model_requested),
    )


def _masked_content(content: Content) -> Content:
    return Content(Json(mask_json(content.messages)), mask(content.result))
