"""The ledger checker: what callers heard, what the emulator counted, what was recorded and what it cost must agree.

Calls whose server died before it answered are unknown: they may have a record or none, and are listed, never guessed.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

from callers import Heard
from gateway import Gateway, eventually

from dujiang.emulator.server import Emulator

Row = dict[str, Any]

_ENDED_BADLY = ("error", "refused")


@dataclass(frozen=True)
class Upstream:
    """What the emulator counted for all models; the difference of two is what happened between."""

    attempts: int = 0
    completed: int = 0
    disconnected: int = 0

    def __sub__(self, other: "Upstream") -> "Upstream":
        return Upstream(
            self.attempts - other.attempts, self.completed - other.completed, self.disconnected - other.disconnected
        )


@dataclass(frozen=True)
class Verdict:
    """`violations` are sentences; `lost` and `duplicated` are acknowledged calls with no record or several; `unknown`
    are calls that were not acknowledged because the server went away.
    """

    violations: tuple[str, ...]
    acknowledged: int
    lost: int
    duplicated: int
    unknown: tuple[str, ...]


def check(
    log: Iterable[Heard], rows: Iterable[Row], upstream: Upstream | None = None, costs: dict[str, float] | None = None
) -> Verdict:
    """Hold the ledger of some calls together.

    `upstream` is what the emulator counted meanwhile, `costs` what `records/stats` says they cost by currency; None
    leaves that out. The rows are those of `records/export`.
    """
    heard = {call.request_id: call for call in log}
    by_call: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_call[row["request_id"]].append(row)
    everything = [row for found in by_call.values() for row in found]
    acknowledged = [call for call in heard.values() if call.is_complete]
    unknown = [call for call in heard.values() if not call.is_complete and not call.has_left]
    violations = [*_strangers(heard, by_call), *_repeated_ids(everything)]
    for call in heard.values():
        violations += _of_call(call, by_call.get(call.request_id, []))
    if upstream is not None:
        unaccounted = sum(call.request_id not in by_call for call in unknown)
        violations += _of_attempts(everything, upstream, unaccounted)
    if costs is not None:
        violations += _of_costs(everything, costs)
    return Verdict(
        tuple(violations),
        len(acknowledged),
        sum(call.request_id not in by_call for call in acknowledged),
        sum(len(by_call.get(call.request_id, ())) > 1 for call in acknowledged),
        tuple(call.request_id for call in unknown),
    )


def _strangers(heard: dict[str, Heard], by_call: dict[str, list[Row]]) -> Iterator[str]:
    for request_id in by_call:
        if request_id not in heard:
            yield f"{request_id}: a record without a call"


def _repeated_ids(rows: Sequence[Row]) -> Iterator[str]:
    for id, count in Counter(row["id"] for row in rows).items():
        if count > 1:
            yield f"the record id {id} occurs {count} times"


def _of_call(call: Heard, rows: Sequence[Row]) -> Iterator[str]:
    """One call has one record; only a call that nothing was heard of may have none."""
    name = call.request_id
    if len(rows) > 1:
        yield f"{name}: {len(rows)} records of one call"
    elif not rows and call.status is not None and (call.is_complete or call.has_left):
        verb = "ended" if call.is_complete else "begun"
        yield f"{name}: no record of a call that was {verb} with {call.status} {call.error}"
    for row in rows:
        yield from _of_outcome(call, row)
        if row["status"] == "refused" and row["attempts"]:
            yield f"{name}: refused after {row['attempts']} attempts"
        if row["cached"] in {"exact", "semantic", "replay"} and (row["attempts"] or (row["cost"] or {}).get("amount")):
            yield f"{name}: from the cache with {row['attempts']} attempts, {row['cost']}"


def _of_outcome(call: Heard, row: Row) -> Iterator[str]:
    name, status, http_status = call.request_id, row["status"], row["http_status"]
    if not call.is_complete:
        # Who left may have missed the end by a moment; a server that died had acknowledged nothing.
        if call.has_left and status == "cancelled" and http_status != 499:
            yield f"{name}: cancelled with {http_status}"
    elif call.is_cut:
        if status != "cut":
            yield f"{name}: the caller was told of a cut stream, the record says {status}"
    elif call.status == 200:
        if (status, http_status) != ("ok", 200):
            yield f"{name}: the caller got a whole answer, the record says {status} {http_status}"
    elif status not in _ENDED_BADLY or http_status != call.status:
        yield f"{name}: the caller got {call.status}, the record says {status} {http_status}"


def _of_attempts(rows: Sequence[Row], upstream: Upstream, unaccounted: int) -> Iterator[str]:
    """A caller who left while the request was still being sent made an attempt that may not have arrived."""
    recorded = sum(row["attempts"] for row in rows)
    in_doubt = sum(row["attempts"] for row in rows if row["status"] == "cancelled" and row["usage"] is None)
    # Each unaccounted call may have been sent twice, where its connection had gone stale.
    if not recorded - in_doubt <= upstream.attempts <= recorded + 2 * unaccounted:
        yield (
            f"{recorded} attempts are recorded ({in_doubt} of them may not have arrived, {unaccounted} calls are "
            f"unaccounted for), the emulator counted {upstream.attempts}"
        )
    succeeded = sum(row["status"] == "ok" and bool(row["attempts"]) for row in rows)
    if succeeded > upstream.completed:
        yield f"{succeeded} answers are recorded as whole, the emulator completed {upstream.completed}"


def _of_costs(rows: Sequence[Row], costs: dict[str, float]) -> Iterator[str]:
    """In millionths, so that the order of adding does not matter."""
    recorded: Counter[str] = Counter()
    for row in rows:
        if row["cost"] is not None:
            recorded[row["cost"]["currency"]] += round(row["cost"]["amount"] * 1e6)
    summed = {currency: round(amount * 1e6) for currency, amount in costs.items()}
    for currency in sorted(recorded.keys() | summed.keys()):
        if recorded[currency] != summed.get(currency, 0):
            yield f"records cost {recorded[currency]} µ{currency}, the sums say {summed.get(currency, 0)}"


def budget_violations(rows: Iterable[Row], budget: Row) -> list[str]:
    """Hold what a budget's subjects spent against what their calls cost, corrections apart.

    `rows` are those of `records/export` that began in the budget's running window, `budget` what `GET /budgets/{id}`
    tells, in the currency of the rows' costs.
    """
    cost: Counter[str] = Counter()
    for row in rows:
        if row["cost"] is not None and row["cost"]["currency"] == budget["currency"]:
            for subject in _subjects_of(row):
                cost[subject] += round(row["cost"]["amount"] * 1e6)
    corrected: Counter[str] = Counter()
    for each in budget["corrections"]:
        corrected[each["subject"]] += round(each["amount"] * 1e6)
    spent = {each["subject"]: round(each["spent"] * 1e6) for each in budget["accounts"]}
    stem = budget["subject"].removesuffix("*")
    is_pattern = stem != budget["subject"]
    concerned = {each for each in cost if each == stem or (is_pattern and each.startswith(stem))} | spent.keys()
    return [
        f"{subject}: the calls cost {cost[subject]} µ{budget['currency']}, "
        f"the ledger says {spent.get(subject, 0) - corrected[subject]} and corrections {corrected[subject]}"
        for subject in sorted(concerned)
        if spent.get(subject, 0) - corrected[subject] != cost[subject]
    ]


def _subjects_of(row: Row) -> Iterator[str]:
    """Roles apart, which a record does not tell."""
    yield f"app:{row['app']}"
    yield f"key:{row['key_id']}"
    if row["user_id"] is not None:
        yield f"user:{row['app']}/{row['user_id']}"


# ---- where the inputs come from --------------------------------------------------------------------------------------


def settle(gateway: Gateway, timeout_s: float = 30.0) -> None:
    """Wait until no call runs and all that the journal had is in the database."""
    eventually(lambda: gateway.metric("dujiang_calls_in_flight") == 0, timeout_s)
    eventually(lambda: gateway.metric("dujiang_records_waiting_bytes") == 0, timeout_s)


def exported(gateway: Gateway, prefix: str = "") -> list[Row]:
    """The stored rows of calls whose request id begins with `prefix`."""
    answer = gateway.ask("/api/v1/records/export")
    assert answer.status == 200, answer.body
    rows = [json.loads(line) for line in answer.body.splitlines()]
    return [row for row in rows if row["request_id"].startswith(prefix)]


def costs(gateway: Gateway) -> dict[str, float]:
    """What all calls of the last day cost, by currency."""
    items = gateway.ask("/api/v1/records/stats").json["items"]
    return items[0]["cost"] if items else {}


def counted(emulator: Emulator) -> Upstream:
    """What the emulator has counted so far."""
    host, port = emulator.url.removeprefix("http://").split(":")
    connection = HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", "/_emulator/counters")
    models = json.loads(connection.getresponse().read())["models"].values()
    connection.close()
    return Upstream(*(sum(tally[name] for tally in models) for name in ("attempts", "completed", "disconnected")))
