"""A call must leave nothing for the cycle collector: its thresholds are set on that ground."""

import asyncio
import gc
from decimal import Decimal

from budgeted import budgets_of, fresh_accounts
from targets import a_model, a_target

from dujiang.chat.dispatch import dispatch
from dujiang.chat.pipeline import compose, parse
from dujiang.core.call import Call, Caller, ClaimedUser, ParsedChat
from dujiang.core.chat import ChatRequest, Chunk, Message, Usage
from dujiang.core.reply import Reply, WholeReply
from dujiang.identity.counters import Counters
from dujiang.identity.limit_stage import limit
from dujiang.identity.roles import compile_roles
from dujiang.identity.settings import BudgetSettings, LimitSettings, RoleSettings
from dujiang.identity.stage import admit
from dujiang.identity.users import Users
from dujiang.routing.catalog import Catalog
from dujiang.routing.stage import route
from dujiang.storage.memory import MemoryStore
from dujiang.telemetry.metrics import Metrics
from dujiang.telemetry.stage import observe

CALLER = Caller("k", "a", ("r",))


async def answer(_: Call) -> Reply:
    return WholeReply(Chunk("hi", "stop", Usage(1, 0, 0, 1)))


def read(_: bytes) -> ParsedChat:
    return ParsedChat(ChatRequest("m", [Message("user", "hi")]), ClaimedUser())


def test_a_call_leaves_no_cycles() -> None:
    models = {"m": a_model([a_target(answer)])}
    store = MemoryStore()
    budget = BudgetSettings(subject="app:a", amount=Decimal(1), currency="CNY", per="day")
    stages = (
        observe(Metrics()),
        parse(),
        admit(compile_roles({"r": RoleSettings(permissions=("chat:call",))}, {}), "chat:call"),
        limit(store, Counters({}, {}, LimitSettings(rpm=1000, tpm=100_000, concurrency=2), Users())),
        route(Catalog(models, {}, frozenset())),
    )
    handler = compose(stages, dispatch(models, budgets_of(budget), fresh_accounts(), {}))

    async def main() -> None:
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                call = Call("id", "chat", read, CALLER, 0.0, 1e9, 1)
                reply = await handler(call)
                assert (await anext(reply)).text == "hi"
                reply.close()
            del call, reply
            assert gc.collect() == 0
        finally:
            gc.enable()

    asyncio.run(main())
