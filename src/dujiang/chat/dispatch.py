"""The innermost handler: interprets a plan, one attempt after another."""

from collections.abc import Mapping
from time import monotonic

from dujiang.core.call import Attempt, Call
from dujiang.core.errors import AppError, Rejected, StaleConnection, UpstreamError
from dujiang.core.protocols import Handler
from dujiang.core.reply import Reply
from dujiang.identity.accounts import Accounts
from dujiang.identity.budgets import Budgets, Due
from dujiang.resilience.balancer import least_loaded
from dujiang.routing.catalog import Model, Target


def dispatch(models: Mapping[str, Model], budgets: Budgets, accounts: Accounts) -> Handler:
    """Ask the plan's model, within the caller's budgets. A connection that had gone stale is replaced once; nothing was
    served on it.

    A call that comes a second time has an answer already, which its scene could not take: it comes to `repair` it.
    """

    async def dispatched(call: Call) -> Reply:
        model = models[call.plan.steps[0].model]
        targets = model.targets
        if not targets:
            raise model.missing.with_traceback(None)
        target = targets[0] if len(targets) == 1 else least_loaded(targets)
        call.model = model.name
        call.model_version = model.version
        call.provider = target.provider
        dues = budgets.of(call.caller, call.rights, call.parsed.user)
        why = "repair" if call.attempts else "first"
        try:
            return await paid(call, target, why, dues) if dues else await attempt(call, target, why)
        except StaleConnection:
            why = "stale_connection"
            return await paid(call, target, why, dues) if dues else await attempt(call, target, why)

    async def paid(call: Call, target: Target, why: str, dues: tuple[Due, ...]) -> Reply:
        """An attempt for which money is set aside until it ends."""
        reserved = await accounts.reserve(call, dues, target.price)
        tried = len(call.attempts)
        try:
            reply = await attempt(call, target, why)
        except BaseException:
            accounts.settle(reserved, call, None, None)
            raise
        reply.on_close(lambda ended: accounts.settle(reserved, call, ended.usage, call.attempts[tried].cost))
        return reply

    return dispatched


async def attempt(call: Call, target: Target, why: str) -> Reply:
    """Open the answer at one target, and note how it went. The target counts as busy until the reply is closed."""
    noted = Attempt(target.provider, target.name, target.credential, why)
    call.attempts.append(noted)
    began = monotonic()
    target.load.in_flight += 1
    is_open = False
    try:
        reply = await target.open(call)
        is_open = True
    except AppError as error:
        noted.error = error.code
        if isinstance(error, UpstreamError) and not isinstance(error, Rejected | StaleConnection):
            target.load.note(error.code)
        raise
    finally:
        noted.total_s = monotonic() - began
        call.upstream_s += noted.total_s
        if not is_open:
            target.load.in_flight -= 1

    def leave(ended: Reply) -> None:
        target.load.in_flight -= 1
        noted.total_s = monotonic() - began
        if ended.error is not None:
            noted.error = ended.error.code
            target.load.note(noted.error)
        if ended.usage is not None:
            noted.cost = target.price(ended.usage)

    if target.load.state != "ok":
        target.load.note(None)
    reply.on_close(leave)
    return reply
