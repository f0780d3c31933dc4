"""Where the names of a document's providers and alerts lead: what is known only by asking, when a document is saved."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from dujiang.config.problems import Findings
from dujiang.config.settings import AlertSettings, Sections
from dujiang.core.errors import Misconfigured
from dujiang.core.problem import Problem, at
from dujiang.providers.address import check_base_url, is_name, split_url
from dujiang.providers.connect import Origin, forbidden_addresses, origin_of, proxy_for
from dujiang.providers.resolve import Resolver

TIMEOUT_S = 3.0
MAX_NAMES = 200
_AT_ONCE = 8


async def reach_findings(
    sections: Sections,
    expand: Callable[[str], str],
    resolver: Resolver,
    *,
    timeout_s: float = TIMEOUT_S,
    max_names: int = MAX_NAMES,
) -> Findings:
    """A name that leads to a forbidden address refuses the document. One that leads nowhere is a doubt, and so are
    those beyond `max_names`, and those without an answer when `timeout_s` are over: connecting asks again.

    `expand` replaces `${NAME}`. Names that a proxy will resolve are not asked here. Literal addresses are the reader's.
    """
    places = _places(sections, expand)
    origins = list(places)
    asking = _Asking(resolver, origins[:max_names])
    try:
        async with asyncio.timeout(timeout_s):
            await asking.all()
    except TimeoutError:
        pass  # what has no answer yet stays a doubt
    doubts = asking.doubts | dict.fromkeys(origins[max_names:], f"is not looked up: only {max_names} names are")
    return Findings(_told(places, asking.refusals), _told(places, doubts))


class _Asking:
    """Looks names up, a few at once. Before a name has an answer it is in doubt."""

    def __init__(self, resolver: Resolver, origins: Sequence[Origin]) -> None:
        self._resolver = resolver
        self._seats = asyncio.Semaphore(_AT_ONCE)
        self.doubts = dict.fromkeys(origins, "was not looked up in time; connecting will ask again")
        self.refusals: dict[Origin, str] = {}

    async def all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for origin in tuple(self.doubts):
                group.create_task(self._one(origin), name="look a provider's name up")

    async def _one(self, origin: Origin) -> None:
        async with self._seats:
            try:
                found = await self._resolver.resolve(origin.host, origin.port)
            except (OSError, UnicodeError):
                found = ()
        if not found:
            self.doubts[origin] = "leads nowhere at present; connecting will ask again"
            return
        del self.doubts[origin]
        if forbidden_addresses(origin, found):
            self.refusals[origin] = _refusal(origin)


def _refusal(origin: Origin) -> str:
    if origin.allow_private_network:
        return "leads to a cloud's metadata service"
    return "leads to a private network; if that is meant, set `allow_private_network: true`"


def _places(sections: Sections, expand: Callable[[str], str]) -> dict[Origin, list[str]]:
    """The origins whose names this process will resolve, with the paths that declare them."""
    found: dict[Origin, list[str]] = {}
    for name, provider in sections.providers.items():
        try:
            url = expand(provider.base_url)
            check_base_url(url)
        except ValueError:
            continue  # empty, or the reader's to refuse
        origin = origin_of(url, allow_private_network=provider.allow_private_network)
        if is_name(origin.host) and not _is_proxied(origin):
            found.setdefault(origin, []).append(f"{at('providers', name)}.base_url")
    alerts = _alerts_origin(sections.alerts, expand)
    if alerts is not None and is_name(alerts.host) and not _is_proxied(alerts):
        found.setdefault(alerts, []).append("alerts.url")
    return found


def _alerts_origin(alerts: AlertSettings, expand: Callable[[str], str]) -> Origin | None:
    try:
        url = expand(alerts.url)
        split_url(url)
    except ValueError:
        return None
    return origin_of(url, allow_private_network=alerts.allow_private_network)


def _is_proxied(origin: Origin) -> bool:
    try:
        return proxy_for(origin) is not None
    except Misconfigured:
        return True


def _told(places: Mapping[Origin, Sequence[str]], verdicts: Mapping[Origin, str]) -> tuple[Problem, ...]:
    return tuple(
        Problem(path, f"the host {verdicts[origin]}")
        for origin, paths in places.items()
        for path in paths
        if origin in verdicts
    )
