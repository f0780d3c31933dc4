"""What letting a call in costs: CPU time of permissions, of limits and of budgets, in memory.

The handler below answers at once, so that all that differs are the stages. *permission* is the admit stage; *limits*
adds four counters (the key's own with a rate of requests, one of tokens and places; its app's; two roles' for the user)
from the permit to its return at the true end; *budget* adds reserving, settling and charging two budgets, one of them
for each user, with the foreseeing of what a conversation will cost.
"""

import asyncio
import statistics
from decimal import Decimal
from pathlib import Path
from time import monotonic, thread_time
from typing import Annotated

import typer

from benchmarks.parts import Part, tell
from dujiang.core.call import Call, Caller, ClaimedUser, ParsedChat
from dujiang.core.chat import ChatRequest, Chunk, Message, Usage
from dujiang.core.ids import new_id
from dujiang.core.money import Cost, Exchange
from dujiang.core.protocols import Handler
from dujiang.core.reply import Reply, WholeReply
from dujiang.identity.accounts import Accounts, Spent
from dujiang.identity.budgets import Budgets
from dujiang.identity.counters import Counters
from dujiang.identity.foresight import Foresight
from dujiang.identity.limit_stage import limit
from dujiang.identity.roles import compile_roles
from dujiang.identity.settings import AppSettings, BudgetSettings, LimitSettings, RoleSettings
from dujiang.identity.stage import admit
from dujiang.identity.users import Users
from dujiang.storage.memory import MemoryStore

_RESULT = Path(__file__).parent / "results" / "admission.json"
_CALLS = 5_000
_USERS = 500
_MANY = 100_000_000
_CALLER = Caller("key-1", "shop", ("user", "guest"))
_USAGE = Usage(400, 0, 0, 90, 0)
_SYSTEM = Message("system", "You are a helpful assistant of a museum. " * 4)
_MESSAGES = [_SYSTEM, Message("user", "都江堰为什么有效？" * 20)]
_LIMITS = LimitSettings(rpm=_MANY, tpm=_MANY, concurrency=_MANY)
_ROLES = {name: RoleSettings(permissions=("chat:call",), limits=LimitSettings(rpm=_MANY)) for name in _CALLER.roles}
_APPS = {"shop": AppSettings(limits=LimitSettings(rpm=_MANY))}


class _NothingSpent:
    def spent(self, budget_id: str, subject: str, window_start_s: int) -> Spent:
        return Spent()


async def _answer(_: Call) -> Reply:
    return WholeReply(Chunk("ok", "stop", _USAGE))


def _price(usage: Usage) -> Cost:
    return Cost(usage.prompt_tokens + 3 * usage.completion_tokens, "CNY", "document@7", Exchange("CNY", "1"))


def _call(n: int) -> Call:
    call = Call(new_id(), "chat", _unparsed, _CALLER, monotonic(), 1e9, 7)
    call.parsed = ParsedChat(ChatRequest("m", _MESSAGES, max_tokens=200), ClaimedUser(f"user-{n % _USERS}"))
    call.request = call.parsed.request
    call.request_bytes = 900
    call.model = "m"
    return call


def _unparsed(_: bytes) -> ParsedChat:
    raise NotImplementedError


def _paying(accounts: Accounts, budgets: Budgets) -> Handler:
    """As dispatch does it."""

    async def paid(call: Call) -> Reply:
        dues = budgets.of(call.caller, call.rights, call.parsed.user)
        reserved = await accounts.reserve(call, dues, _price)
        reply = await _answer(call)
        reply.on_close(lambda ended: accounts.settle(reserved, call, ended.usage, _price(_USAGE)))
        return reply

    return paid


async def _cpu_us(handler: Handler) -> float:
    """CPU microseconds a call, making the call and closing its answer included."""
    began_s = thread_time()
    for n in range(_CALLS):
        reply = await handler(_call(n))
        reply.close()
    return (thread_time() - began_s) / _CALLS * 1e6


async def _rounds(count: int) -> list[dict[str, float]]:
    """Measurements of every part, one after the other, so that drift falls on all alike."""
    store = MemoryStore()
    accounts = Accounts(store, _NothingSpent(), Foresight())
    declared = [
        BudgetSettings(subject=subject, amount=Decimal(10**9), currency="CNY", per="day")
        for subject in ("app:shop", "user:*")
    ]
    budgets = Budgets(declared, {}, {"CNY": Decimal(1)}, "Asia/Shanghai", Users())
    permission = admit(compile_roles(_ROLES, _APPS), "chat:call")
    limits = limit(store, Counters(_ROLES, _APPS, _LIMITS, Users()))
    handlers = {
        "nothing": _answer,
        "permission": permission(_answer),
        "limits": permission(limits(_answer)),
        "budget": permission(_paying(accounts, budgets)),
    }
    await _cpu_us(handlers["limits"])
    await _cpu_us(handlers["budget"])
    return [{name: await _cpu_us(handler) for name, handler in handlers.items()} for _ in range(count)]


def _measured(rounds: list[dict[str, float]]) -> list[Part]:
    def median(part: str, less: str) -> float:
        return round(statistics.median(each[part] - each[less] for each in rounds), 2)

    return [
        Part("permission", median("permission", "nothing")),
        Part("limits, four counters", median("limits", "permission")),
        Part("permission and limits", median("limits", "nothing")),
        Part("two budgets", median("budget", "permission")),
    ]


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Measurements; the medians are told.")] = 15,
    json: Annotated[Path, typer.Option(help="Where the report goes.")] = _RESULT,
) -> None:
    """Measure what admission costs a call."""
    protocol = f"medians of {rounds} rounds of {_CALLS} calls of {_USERS} users; CPU time of the loop's thread"
    data = "one short conversation in two languages"
    tell("admission", protocol, data, _measured(asyncio.run(_rounds(rounds))), json)


if __name__ == "__main__":
    typer.run(main)
