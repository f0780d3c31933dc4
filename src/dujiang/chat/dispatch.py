"""The innermost handler: interprets a plan, one attempt after another, until an answer opens or nothing is left."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from random import random
from time import monotonic

from dujiang.chat.attempt import attempt
from dujiang.core.call import Attempt, Call
from dujiang.core.errors import AppError, UpstreamError
from dujiang.core.protocols import Handler
from dujiang.core.reply import Reply
from dujiang.identity.accounts import Accounts
from dujiang.identity.budgets import Budgets, Due
from dujiang.resilience.model import POLL_S, Choice, Later, Model, foreseen_tokens
from dujiang.resilience.retrying import retry_delay_s
from dujiang.resilience.target import Entry, Target
from dujiang.resilience.verdict import Fallback, verdict


def dispatch(
    models: Mapping[str, Model],
    budgets: Budgets,
    accounts: Accounts,
    weights: Mapping[str, float],
    draw: Callable[[], float] = random,
) -> Handler:
    """Ask the plan's model, within the caller's budgets, and where it cannot answer its fallbacks, as far as the caller
    may use them. `weights` are the shares of apps where calls have to wait.

    A call that comes a second time has an answer already, which its scene could not take: it comes to `repair` it.
    """
    asking = _Asking(accounts, weights, draw)

    async def dispatched(call: Call) -> Reply:
        model = models[call.plan.steps[0].model]
        call.deadline = min(call.deadline, call.started + model.total_s)
        dues = budgets.of(call.caller, call.rights, call.parsed.user)
        try:
            return await asking.ask(call, model, dues, "repair" if call.attempts else "first")
        except AppError as error:
            kind = verdict(error).fallback
            if kind is None or not model.fallbacks[kind]:
                raise
            return await asking.fall_back(call, _others(call, model, kind, models), dues, error)

    return dispatched


def _others(call: Call, model: Model, kind: Fallback, models: Mapping[str, Model]) -> Iterator[Model]:
    """The fallbacks of a model that the caller may use and that can be asked at all."""
    for name in model.fallbacks[kind]:
        if call.rights.allows_model(name) and models[name].targets:
            yield models[name]


def _noted(target: Target, why: str, by: str, waited_s: float) -> Attempt:
    return Attempt(target.provider, target.name, target.credential, why, by, waited_s)


def _taken_again(call: Call, target: Target) -> tuple[Target, Entry, str] | None:
    """The target of the last attempt, by what it was chosen then; None where it may not be asked any more.

    An old connection that was closed says nothing of a target. That a new one is closed as well does, so it must be the
    same target's: else one that resets all connections would never be found out beside one that keeps them warm.
    """
    tokens, by = foreseen_tokens(call), call.attempts[-1].chosen_by
    if target.barred_until > monotonic() or not target.has_room(tokens):
        return None
    entry = target.enter(tokens, is_last_resort=by == "last_resort")
    return None if entry is None else (target, entry, by)


class _Asking:
    """The loop over a model's targets. `draw` gives uniform numbers in [0, 1)."""

    def __init__(self, accounts: Accounts, weights: Mapping[str, float], draw: Callable[[], float]) -> None:
        self._accounts = accounts
        self._weights = weights
        self._draw = draw

    async def ask(self, call: Call, model: Model, dues: tuple[Due, ...], why: str) -> Reply:
        """One model, as often as its settings allow. Raises what its last attempt failed with."""
        if not model.targets:
            raise model.missing.with_traceback(None)
        call.model = model.name
        call.model_version = model.version
        model.retries.deposit(call.client_retries)
        waited_s, gate = call.waited_s, model.gate
        if not gate.try_enter():
            await model.wait_for_place(call, self._weights.get(call.caller.app, 1.0))
        try:
            target, entry, by = await self._taken(call, model, ())
            noted = _noted(target, why, by, call.waited_s - waited_s)
            try:
                reply = await self._open(call, target, entry, noted, dues)
            except UpstreamError as error:
                reply = await self._ask_again(call, model, target, dues, error)
        except BaseException:
            gate.leave()
            raise
        if gate.waiting:
            gate.admit()  # the target may have recovered by this call, or its limit have grown
        reply.on_close(lambda _: gate.leave())
        return reply

    async def fall_back(self, call: Call, others: Iterator[Model], dues: tuple[Due, ...], failed: AppError) -> Reply:
        """The first of some models that answers. Raises what the last one failed with, `failed` where there is none."""
        for model in others:
            try:
                return await self.ask(call, model, dues, "fallback")
            except AppError as error:
                failed = error
                if verdict(error).fallback is None:
                    break
        try:
            raise failed
        finally:
            del failed  # or it and this frame would hold each other

    async def _ask_again(
        self, call: Call, model: Model, target: Target, dues: tuple[Due, ...], failed: UpstreamError
    ) -> Reply:
        """Go on after a first attempt that failed."""
        tried: list[Target] = []
        is_resent = False
        try:
            while True:
                waited_s = call.waited_s
                taken = None
                if verdict(failed).at_once and not is_resent:
                    is_resent = True
                    model.retries.withdraw()
                    why = "stale_connection"
                    taken = _taken_again(call, target)
                else:
                    tried.append(target)
                    why = "retry"
                    delay_s = retry_delay_s(failed, call, model, tried, self._draw)
                    if delay_s is None:
                        raise failed
                    if delay_s:
                        call.waited_s += delay_s
                        await asyncio.sleep(delay_s)
                try:
                    target, entry, by = taken or await self._taken(call, model, tried)
                except UpstreamError:
                    raise failed from None  # that nobody is left says less than why
                noted = _noted(target, why, by, call.waited_s - waited_s)
                try:
                    return await self._open(call, target, entry, noted, dues)
                except UpstreamError as error:
                    failed = error
        finally:
            del failed

    async def _taken(self, call: Call, model: Model, tried: Collection[Target]) -> tuple[Target, Entry, str]:
        """A target that took the call, and by what it was chosen. Raises `Unavailable` where none may be in time."""
        while True:
            choice = model.choose(call, tried)
            if isinstance(choice, Choice):
                target, by = choice
                entry = target.enter(foreseen_tokens(call), is_last_resort=by == "last_resort")
                if entry is not None:
                    return target, entry, by
                choice = Later(monotonic() + POLL_S, 0.0)
            await model.wait(choice, call)

    async def _open(self, call: Call, target: Target, entry: Entry, noted: Attempt, dues: tuple[Due, ...]) -> Reply:
        """An attempt, for which money is set aside until it ends where budgets are concerned."""
        if not dues:
            return await attempt(call, target, entry, noted)
        try:
            reserved = await self._accounts.reserve(call, dues, target.price)
        except BaseException:
            target.told_nothing(entry)
            target.leave(entry, 0, None, monotonic())
            raise
        try:
            reply = await attempt(call, target, entry, noted)
        except BaseException:
            self._accounts.settle(reserved, call, None, None)
            raise
        reply.on_close(lambda ended: self._accounts.settle(reserved, call, ended.usage, noted.cost))
        return reply
