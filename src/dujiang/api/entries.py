"""Names of the document as resources of their own: every write is a revision like any other."""

from asyncio import to_thread
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from msgspec import Struct
from pydantic import BaseModel, ValidationError

from dujiang.api.config import author_of
from dujiang.config.fields import settings_of
from dujiang.config.merge import merged
from dujiang.config.problems import InvalidDocument
from dujiang.config.state import MAX_ENTRY_BYTES
from dujiang.config.tree import read_tree
from dujiang.core.call import Caller
from dujiang.core.errors import Conflict, InvalidRequest, NotFound
from dujiang.core.problem import Problem
from dujiang.runtime import Runtime

Part = dict[str, Any]
M = TypeVar("M", bound=BaseModel)
T = TypeVar("T", bound=Struct)


async def body_of(request: Request) -> Part:
    """The JSON object of a request. Raises `InvalidDocument`."""
    text = await request.body()
    if len(text) > MAX_ENTRY_BYTES:
        raise InvalidDocument((Problem("", f"is larger than {MAX_ENTRY_BYTES} bytes"),))
    return await to_thread(read_tree, text, "json")


async def read_body(request: Request, model: type[M]) -> M:
    """The JSON object of a request as a model, whatever its `Content-Type`.

    Routes call it themselves, so that nobody's body is read before their key is known.
    Raises `InvalidDocument`, and `RequestValidationError` as where the framework reads a body.
    """
    return validated(await body_of(request), model)


def validated(body: Part, model: type[M]) -> M:
    """A body as a model. Raises `RequestValidationError`."""
    try:
        return model.model_validate(body)
    except ValidationError as invalid:
        errors = [{**error, "loc": ("body", *error["loc"])} for error in invalid.errors(include_url=False)]
        raise RequestValidationError(errors) from None


async def read_fields(request: Request, kind: type[T]) -> T:
    """The JSON object of a request as settings. Raises `InvalidDocument` with every problem and its path."""
    return settings_of(await body_of(request), kind)


def fields_described(kind: type[Struct]) -> dict[str, Any]:
    """As `described`, of a route that reads its body by `read_fields`."""
    (schema,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    name = schema["$ref"].rsplit("/", 1)[1]
    body = {**parts.pop(name), **({"$defs": parts} if parts else {})}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}}


def described(model: type[BaseModel]) -> dict[str, Any]:
    """The body of a route that reads it by `read_body`, for the schema of the API."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


def named(body: Part) -> tuple[str, Part]:
    """The `id` of a body, and the rest of it. Raises `InvalidRequest`."""
    name = body.get("id")
    if not isinstance(name, str) or not 1 <= len(name) <= 128:
        raise InvalidRequest("Give an `id`: a text of 1 to 128 characters.", param="id")
    return name, {key: value for key, value in body.items() if key != "id"}


async def create(runtime: Runtime, caller: Caller, section: str, name: str, part: Part, response: Response) -> Part:
    """Put a new name. Raises `Conflict` where it is there already, and as `Configuration.apply`."""

    def make(known: Part | None) -> Part:
        if known is not None:
            raise Conflict(f"`{name}` is there already: change it with PATCH.", reason="exists", param="id")
        return part

    return await edit(runtime, caller, section, name, make, response)


async def change(runtime: Runtime, caller: Caller, section: str, name: str, patch: Part, response: Response) -> Part:
    """Apply a JSON merge patch to a name. Raises `NotFound`, and as `Configuration.apply`."""

    def make(known: Part | None) -> Part:
        return merged(_present(known, section, name), patch)

    return await edit(runtime, caller, section, name, make, response)


async def remove(runtime: Runtime, caller: Caller, section: str, name: str) -> None:
    """Take a name away. Raises `NotFound`, and as `Configuration.apply`: what others refer to stays."""
    author = author_of(runtime, caller)

    def make(known: Part | None) -> None:
        _present(known, section, name)

    await runtime.configure(lambda config: config.edit(section, name, make, author))


async def edit(
    runtime: Runtime,
    caller: Caller,
    section: str,
    name: str,
    make: Callable[[Part | None], Part],
    response: Response,
) -> Part:
    """Change a name, and answer what it holds now; the `ETag` is the revision."""
    author = author_of(runtime, caller)
    done = await runtime.configure(lambda config: config.edit(section, name, make, author))
    response.headers["ETag"] = f'"{done.revision}"'
    return item(name, done.checked.full[section][name])


async def parts(runtime: Runtime, section: str) -> dict[str, Part]:
    """Every name of a section with what it holds, the default document's where the document leaves it out."""
    return await runtime.configure(lambda config: config.newest().checked.full.get(section, {}))


async def part(runtime: Runtime, section: str, name: str) -> Part:
    """Raises `NotFound`."""
    return _present((await parts(runtime, section)).get(name), section, name)


def item(name: str, part: Part) -> Part:
    return {"id": name, **part}


def _present(known: Part | None, section: str, name: str) -> Part:
    if known is None:
        noun = section.removesuffix("s")
        raise NotFound(f"There is no {noun} `{name[:100]}`.", reason=f"{noun}_not_found", param="id")
    return known
