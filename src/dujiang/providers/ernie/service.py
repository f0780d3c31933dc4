"""ERNIE as a service: which generation a credential belongs to decides how a model is asked."""

from collections.abc import Mapping

from dujiang.core.protocols import Handler
from dujiang.providers.clocks import Clocks
from dujiang.providers.connect import dialer_for, origin_of, proxy_for, request_head
from dujiang.providers.ernie.credentials import V1Credential, V2Credential, read_credential
from dujiang.providers.ernie.models import v1_path, v2_name
from dujiang.providers.ernie.tokens import Tokens
from dujiang.providers.ernie.v1 import ErnieV1
from dujiang.providers.ernie.v2 import QIANFAN
from dujiang.providers.http import Pool
from dujiang.providers.model_list import model_list_probe
from dujiang.providers.openai_compatible import OpenAICompatible
from dujiang.providers.service import Endpoint, Probe, Service, request_fields

V1_HOST = "https://aip.baidubce.com"
V2_HOST = "https://qianfan.baidubce.com"


class ErnieService(Service):
    """Each credential speaks the generation it belongs to, at the vendor's own hosts or at `base_url`.

    Raises `WrongCredential` for one that belongs to neither.
    """

    def __init__(
        self, name: str, base_url: str, secrets: Mapping[str, tuple[str, float]], *, may_be_private: bool
    ) -> None:
        super().__init__(name)
        v1 = origin_of(base_url or V1_HOST, allow_private_network=may_be_private)
        v2 = origin_of(base_url or V2_HOST, allow_private_network=may_be_private)
        self._v1, self._v1_pool = v1, Pool(dialer_for(v1))
        self._v2, self._v2_pool = v2, Pool(dialer_for(v2))
        self._weights = {name: weight for name, (_, weight) in secrets.items()}
        self._credentials = {name: read_credential(text) for name, (text, _) in secrets.items()}
        self._tokens = {
            name: Tokens(self._v1_pool, v1, credential)
            for name, credential in self._credentials.items()
            if isinstance(credential, V1Credential)
        }

        self._probes = {name: self._probe(name, credential) for name, credential in self._credentials.items()}

    def endpoints(self, model: str, clocks: Clocks) -> tuple[Endpoint, ...]:
        return tuple(
            Endpoint(name, self._weights[name], self._handler(name, credential, model, clocks), self._probes[name])
            for name, credential in self._credentials.items()
        )

    def close(self) -> None:
        for tokens in self._tokens.values():
            tokens.close()
        self._v1_pool.close()
        self._v2_pool.close()

    def _probe(self, name: str, credential: V1Credential | V2Credential) -> Probe:
        """A generation that lists no models is asked for an access token."""
        if isinstance(credential, V2Credential):
            return model_list_probe(self._v2_pool, self._v2, "/v2/models", credential.key, QIANFAN.codes)
        return self._tokens[name].probe

    def _handler(self, name: str, credential: V1Credential | V2Credential, model: str, clocks: Clocks) -> Handler:
        if isinstance(credential, V1Credential):
            secrets = (credential.api_key, credential.secret_key)
            return ErnieV1(self._v1_pool, self._v1, self._tokens[name], v1_path(model), secrets, clocks)
        fields = request_fields(credential.key)
        if credential.appid:
            fields["appid"] = credential.appid
        head = request_head(self._v2, "/v2/chat/completions", fields, proxy_for(self._v2))
        return OpenAICompatible(self._v2_pool, head, credential.key, v2_name(model), clocks, QIANFAN)
