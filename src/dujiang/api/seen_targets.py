"""How the targets of all models are, in the worst state that any worker tells."""

from collections.abc import Iterable, Mapping, Sequence
from time import monotonic

from msgspec import Struct
from msgspec.structs import replace

from dujiang.api.health import worse_state
from dujiang.resilience.target import Target
from dujiang.runtime import Runtime

_TOPIC = "targets"


class SeenTarget(Struct):
    """A target as one worker sees it, or as all do: then the calls in flight and the limit are their sums."""

    model: str
    provider: str
    target: str
    credential: str
    weight: float
    state: str
    since: str | None
    reason: str | None
    in_flight: int
    limit: int


class SeenQueue(Struct):
    """How many calls of a model have a place, and how many wait for one."""

    model: str
    inside: int
    waiting: int


class Seen(Struct):
    """Every target of every model, in the order of the document. `silent` is how many workers did not tell."""

    targets: list[SeenTarget]
    queues: list[SeenQueue]
    silent: int = 0

    def by_model(self) -> Mapping[str, Sequence[SeenTarget]]:
        found: dict[str, list[SeenTarget]] = {}
        for target in self.targets:
            found.setdefault(target.model, []).append(target)
        return found


async def ask_all(runtime: Runtime) -> Seen:
    """What all workers see, as one."""
    told = await runtime.siblings.ask(_TOPIC, Seen)
    targets: dict[tuple[str, str, str], SeenTarget] = {}
    queues: dict[str, SeenQueue] = {}
    for worker in told.answers:
        for seen in worker.targets:
            place = (seen.model, seen.target, seen.credential)
            known = targets.get(place)
            targets[place] = seen if known is None else _together(known, seen)
        _add(queues, worker.queues)
    return Seen(list(targets.values()), list(queues.values()), told.silent)


def answer_siblings(runtime: Runtime) -> None:
    """Tell other workers how this one sees its targets."""
    runtime.siblings.answer(_TOPIC, lambda: _of_this_worker(runtime))


def _of_this_worker(runtime: Runtime) -> Seen:
    now = monotonic()
    found = Seen([], [])
    for name, model in runtime.snapshot.models.items():
        found.queues.append(SeenQueue(name, model.gate.inside, model.gate.waiting))
        found.targets += (seen_here(name, target, now) for target in model.targets)
    return found


def seen_here(model: str, target: Target, now: float) -> SeenTarget:
    """A target of a model as this worker sees it."""
    return SeenTarget(
        model=model,
        provider=target.provider,
        target=target.name,
        credential=target.credential,
        weight=round(target.weight, 6),
        **target.standing(now)._asdict(),
        in_flight=target.load.in_flight,
        limit=target.load.limit.limit,
    )


def _together(one: SeenTarget, other: SeenTarget) -> SeenTarget:
    worse = one if worse_state(one.state, other.state) == one.state else other
    return replace(worse, in_flight=one.in_flight + other.in_flight, limit=one.limit + other.limit)


def _add(queues: dict[str, SeenQueue], others: Iterable[SeenQueue]) -> None:
    for other in others:
        one = queues.setdefault(other.model, SeenQueue(other.model, 0, 0))
        one.inside += other.inside
        one.waiting += other.waiting
