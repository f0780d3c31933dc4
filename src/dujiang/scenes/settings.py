"""The `scenes` of the document."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from dujiang.core.settings import ModelName, Name, NamePattern, Settings, Text, Weight

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

VersionNumber = Annotated[int, Meta(ge=1, le=999_999_999)]

VersionKey = Annotated[
    str, Meta(pattern=r"^[1-9][0-9]{0,8}\Z", description='the number of a version in quotes, like `"2"`')
]
"""A version's number where it is a key: keys are text, in JSON as in our YAML."""

Shares = dict[VersionKey, Weight]
"""Versions that share the calls of a label by weight."""

ParameterName = Literal[
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "response_format",
    "tools",
    "tool_choice",
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
    """One wording of a scene: `system`, `messages`, then what the caller says. `model` overrides the caller's, and
    nobody may set the parameters of `locks` otherwise.
    """

    version: VersionNumber
    system: str = ""
    messages: tuple[SceneMessage, ...] = ()
    variables: dict[VariableName, VariableSettings] = {}
    model: ModelName | None = None
    parameters: SceneParameters = SceneParameters()
    locks: tuple[ParameterName, ...] = ()
    output_schema: dict[str, Any] | None = None


class SceneSettings(Settings):
    """A scene, which cannot be called before it has a version. `labels` name a version, or several that share their
    calls; `production` is the one that callers get who ask for none. `apps` and `roles` are those it is for.
    """

    versions: tuple[VersionSettings, ...] = ()
    description: Text = ""
    labels: dict[Name, VersionNumber | Shares] = {}
    apps: tuple[NamePattern, ...] = ("*",)
    roles: tuple[NamePattern, ...] = ("*",)
