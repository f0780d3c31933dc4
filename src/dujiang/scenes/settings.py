"""The `scenes` of the document."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from dujiang.core.settings import ModelName, Name, Settings, Text

Value = str | int | float | bool
"""What a variable can hold."""

VariableName = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z",
        description="a name of up to 64 ASCII letters, digits and `_` that does not start with a digit",
    ),
]

Penalty = Annotated[float, Meta(ge=-2, le=2)]


class VariableSettings(Settings):
    """A `{{name}}` place. Without `default` the caller must give a value. Lengths are characters."""

    type: Literal["string", "integer", "number", "boolean"] = "string"
    description: Text = ""
    default: Value | UnsetType = UNSET
    minimum: float | None = None
    maximum: float | None = None
    enum: Annotated[tuple[Value, ...], Meta(min_length=1)] | None = None
    max_length: Annotated[int, Meta(ge=0, le=1_048_576)] | None = None


class SceneMessage(Settings):
    """A turn that comes before the caller's own."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str


class SceneParameters(Settings):
    """Parameters of the request that a scene fills in where the caller left them unset."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    stop: str | tuple[str, ...] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    response_format: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    tool_choice: str | dict[str, Any] | None = None


class VersionSettings(Settings):
    """One wording of a scene: `system`, `messages`, then what the caller says. `model` overrides the caller's."""

    version: Annotated[int, Meta(ge=1, le=999_999_999)]
    system: str = ""
    messages: tuple[SceneMessage, ...] = ()
    variables: dict[VariableName, VariableSettings] = {}
    model: ModelName | None = None
    parameters: SceneParameters = SceneParameters()
    output_schema: dict[str, Any] | None = None


class SceneSettings(Settings):
    """A scene. `labels` name versions; `production` is the one that callers get who ask for none."""

    versions: Annotated[tuple[VersionSettings, ...], Meta(min_length=1)]
    description: Text = ""
    labels: dict[Name, int] = {}
