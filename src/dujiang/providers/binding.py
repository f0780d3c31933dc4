"""Which stored secrets a provider may be sent: those that are bound to its kind and its origin."""

from dujiang.core.binding import Binding
from dujiang.providers.address import host_of, split_url
from dujiang.providers.ernie.service import V1_HOST, V2_HOST
from dujiang.providers.presets import PRESETS

_OWN_ADDRESSES = {name: (preset.base_url,) for name, preset in PRESETS.items()} | {"ernie": (V1_HOST, V2_HOST)}
_PORTS = {"http": 80, "https": 443}


def binding_of(kind: str, base_url: str) -> Binding:
    """The binding of a provider whose `base_url` is expanded; an empty one means the kind's own addresses.

    Two addresses of one origin have one binding, however they are written. Raises `ValueError` for what is no address,
    and for a kind that has none.
    """
    addresses = (base_url,) if base_url else _OWN_ADDRESSES.get(kind, ())
    if not addresses:
        raise ValueError(f"a provider of the kind `{kind}` has no address to send a secret to")
    return Binding(kind, " ".join(map(_origin, addresses)))


def _origin(url: str) -> str:
    parts = split_url(url)
    return f"{parts.scheme}://{host_of(parts)}:{parts.port or _PORTS[parts.scheme]}"
