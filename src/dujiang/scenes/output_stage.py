"""The stage that holds answers against their scene's output schema."""

from collections.abc import Awaitable, Mapping
from types import MappingProxyType

from msgspec.structs import replace

from dujiang.core.call import Call
from dujiang.core.chat import Chunk, Usage
from dujiang.core.errors import AppError, OutputInvalid
from dujiang.core.protocols import Handler, Stage
from dujiang.core.reply import Reply, WholeReply
from dujiang.scenes.compiled import Scenes
from dujiang.scenes.output import OutputSchema, Unfit, bare_json, repair_turns

_NO_SCHEMAS: Mapping[int, OutputSchema] = MappingProxyType({})


def check_output(scenes: Scenes) -> Stage:
    """Parses the answers to scenes that have an output schema, and asks once more for one that is not valid.

    The model is asked for a whole answer, whatever the caller wants: a stream gets it as one piece at the end. An
    answer that calls tools is not the last word and passes as it is. Both askings are attempts of the same call, under
    its one deadline; the answer's usage is that of both.

    Raises `OutputInvalid` when the second answer is not valid either, or there is none.
    """
    schemas = scenes.output_schemas

    def wrap(handler: Handler) -> Handler:
        if not schemas:
            return handler

        def checked(call: Call) -> Awaitable[Reply]:
            scene = call.scene
            if scene is None or scene.version is None:
                return handler(call)
            schema = schemas.get(scene.id, _NO_SCHEMAS).get(scene.version)
            return handler(call) if schema is None else _answer(handler, call, schema)

        return checked

    return wrap


async def _answer(handler: Handler, call: Call, schema: OutputSchema) -> Reply:
    """`call.request` is another one for the length of this alone: outer stages see the one that they know."""
    asked = call.request
    try:
        call.request = replace(asked, stream=False)
        first = await _whole(handler, call)
        try:
            return WholeReply(await _fitting(first, schema))
        except Unfit as unfit:
            call.request = replace(call.request, messages=[*asked.messages, *repair_turns(first.text, unfit)])
            return WholeReply(await _repaired(handler, call, schema, first, unfit))
    finally:
        call.request = asked


async def _repaired(handler: Handler, call: Call, schema: OutputSchema, first: Chunk, unfit: Unfit) -> Chunk:
    try:
        second = await _whole(handler, call)
    except AppError as error:
        raise _invalid(unfit, first.usage, "could not be repaired") from error
    usage = _sum(first.usage, second.usage)
    try:
        return replace(await _fitting(second, schema), usage=usage)
    except Unfit as still:
        raise _invalid(still, usage, "was no better when the model was told why") from None


async def _whole(handler: Handler, call: Call) -> Chunk:
    """An answer, taken and accounted for."""
    reply = await handler(call)
    try:
        return await anext(reply)
    finally:
        reply.close()


async def _fitting(chunk: Chunk, schema: OutputSchema) -> Chunk:
    """The answer as bare JSON, with the value it is. Raises `Unfit`."""
    if chunk.tool_calls:
        return chunk
    text = bare_json(chunk.text)
    return replace(chunk, text=text, output=await schema.read(text))


def _sum(one: Usage | None, other: Usage | None) -> Usage | None:
    return one + other if one is not None and other is not None else one or other


def _invalid(unfit: Unfit, spent: Usage | None, end: str) -> OutputInvalid:
    error = OutputInvalid(
        f"The model's answer is not what the scene's output schema demands ({unfit.fault}), and {end}.",
        reason=unfit.reason,
    )
    error.spent = spent
    return error
