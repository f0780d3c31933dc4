"""The configured providers, compiled: connection pools, credentials, and a handler for each model they serve."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from dujiang import __version__
from dujiang.core.protocols import Handler
from dujiang.providers.connect import Origin, dialer_for, origin_of, proxy_for, request_head
from dujiang.providers.embedded.cache import explain_missing
from dujiang.providers.http import Pool
from dujiang.providers.local import Embedded, EmbeddedModel
from dujiang.providers.openai_compatible import Clocks, OpenAICompatible
from dujiang.providers.presets import PRESETS, Preset
from dujiang.providers.settings import ProviderSettings


class Endpoint(Struct, frozen=True):
    """One way to ask a provider for a model: under a credential, with its share of the calls."""

    credential: str
    weight: float
    open: Handler


class Service:
    """One provider. `missing` says what an operator must do before it can be asked; it is then never asked.

    `is_unbuilt` tells that nothing can be done: this release does not have what the document declares.
    """

    def __init__(self, name: str, missing: str = "", *, is_unbuilt: bool = False) -> None:
        self.name = name
        self.missing = missing
        self.is_unbuilt = is_unbuilt

    def endpoints(self, model: str, clocks: Clocks) -> tuple[Endpoint, ...]:
        """The ways to ask for a vendor's model."""
        return ()

    def close(self) -> None:
        """Close idle connections; those in use close when their answers end."""


class RemoteService(Service):
    """A service that speaks the OpenAI format at some address."""

    def __init__(
        self, name: str, base_url: str, origin: Origin, preset: Preset, secrets: Mapping[str, tuple[str, float]]
    ) -> None:
        super().__init__(name)
        self._path = base_url.split("://", 1)[1].partition("/")[2].rstrip("/")
        self._origin = origin
        self._preset = preset
        self._secrets = secrets
        self._pool = Pool(dialer_for(origin))

    def endpoints(self, model: str, clocks: Clocks) -> tuple[Endpoint, ...]:
        return tuple(
            Endpoint(
                name, weight, OpenAICompatible(self._pool, self._head(secret), secret, model, clocks, self._preset)
            )
            for name, (secret, weight) in self._secrets.items()
        )

    def close(self) -> None:
        self._pool.close()

    def _head(self, secret: str) -> bytes:
        path = f"/{self._path}/chat/completions" if self._path else "/chat/completions"
        fields = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Accept-Encoding": "identity",
            "User-Agent": f"dujiang/{__version__}",
        }
        if secret:
            fields["Authorization"] = f"Bearer {secret}"
        return request_head(self._origin, path, fields, proxy_for(self._origin))


class EmbeddedService(Service):
    """The embedded model, which our parent process runs beside us."""

    def __init__(self, name: str, embedded: Embedded) -> None:
        super().__init__(name)
        self._embedded = embedded
        self._pool = embedded.pool()

    def endpoints(self, model: str, clocks: Clocks) -> tuple[Endpoint, ...]:
        return (Endpoint("", 1.0, EmbeddedModel(self._embedded, self._pool, clocks)),)

    def close(self) -> None:
        self._pool.close()


def open_services(
    providers: Mapping[str, ProviderSettings], expand: Callable[[str], str], embedded: Mapping[str, Embedded]
) -> dict[str, Service]:
    """Compile every provider. `expand` replaces `${NAME}`; `embedded` tells where embedded models listen."""
    return {name: _open(name, settings, expand, embedded.get(name)) for name, settings in providers.items()}


def _open(name: str, settings: ProviderSettings, expand: Callable[[str], str], embedded: Embedded | None) -> Service:
    if settings.kind == "local":
        if embedded is None:
            return Service(name, explain_missing(settings.model_file or "default"))
        return EmbeddedService(name, embedded)
    secrets = {
        credential.name: (secret, credential.weight)
        for credential in settings.credentials
        if (secret := expand(credential.secret.reveal()))
    }
    if settings.credentials and not secrets:
        return Service(name, f"The provider {name} has no credential: give it one in `providers.{name}.credentials`.")
    if any(secret.startswith("secret:") for secret, _ in secrets.values()):
        return Service(
            name, f"The provider {name} uses a `secret:` reference, which is not built yet.", is_unbuilt=True
        )
    preset = PRESETS.get(settings.kind)
    if preset is None:
        return Service(name, f"Providers of kind `{settings.kind}` are not built yet.", is_unbuilt=True)
    address = expand(settings.base_url)
    may_be_private = settings.allow_private_network or (preset.is_self_hosted and not address)
    base_url = (address or preset.base_url).rstrip("/")
    origin = origin_of(base_url, allow_private_network=may_be_private)
    return RemoteService(name, base_url, origin, preset, secrets or {"": ("", 1.0)})
