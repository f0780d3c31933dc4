"""The document as JSON Schema."""

from typing import Any

import msgspec

from dujiang.config.settings import Sections
from dujiang.core.secret import Secret


def document_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of the whole document."""
    made = msgspec.json.schema(Sections, schema_hook=_schema_of)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Dujiang", **made}


def _schema_of(type_: type[Any]) -> dict[str, Any]:
    if type_ is Secret:
        return {"type": "string", "description": "A secret, `${NAME}`, or `secret:NAME`; `***` means unchanged"}
    raise NotImplementedError(f"{type_.__name__} has no schema")
