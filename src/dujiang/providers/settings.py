"""The `providers` of the document: who serves models, and with which credentials."""

from typing import Annotated

from msgspec import Meta

from dujiang.core.secret import Secret
from dujiang.core.settings import Limits, Name, Settings, Weight
from dujiang.providers.presets import PRESETS

KINDS = frozenset(PRESETS) | {"ernie", "local"}
"""What a provider's `kind` may be: a vendor of the OpenAI format, ERNIE, or the embedded model."""

ModelFile = Annotated[
    str,
    Meta(
        max_length=1024,
        pattern=r"^(\w[\w.-]*|/[^\x00-\x1f]*\.gguf)\Z",
        description="the name of an embedded model, or the absolute path of a `.gguf` file",
    ),
]


class CredentialSettings(Settings):
    """One key of a provider's account. Calls are spread over several in proportion to `weight`."""

    name: Name
    secret: Secret
    weight: Weight = 1


class ProviderSettings(Settings):
    """A service that serves models.

    An empty `base_url` means the kind's own address. `model_file` is the embedded model of kind `local`. A provider
    that declares no credentials is asked without one.
    """

    kind: Name
    base_url: Annotated[str, Meta(max_length=2048)] = ""
    allow_private_network: bool = False
    credentials: tuple[CredentialSettings, ...] = ()
    limits: Limits = Limits()
    model_file: ModelFile | None = None
