"""The innermost handler: interprets a plan, one attempt after another, until an answer opens or nothing is left."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from random import random
from time import monotonic

from dujiang.chat.attempt import attempt, enter
from dujiang.core.call import Call
from dujiang.core.errors import UpstreamError
from dujiang.core.protocols import Handler
from dujiang.core.reply import Reply
from dujiang.identity.accounts import Accounts
from dujiang.identity.budgets import Budgets, Due
from dujiang.resilience.model import Choice, Model
from dujiang.resilience.retrying import retry_delay_s
from dujiang.resilience.target import Entry, Target
from dujiang.resilience.verdict import verdict


def dispatch(
    models: Mapping[str, Model], budgets: Budgets, accounts: Accounts, draw: Callable[[], float] = random
) -> Handler:
    """Ask the plan's model, within the caller's budgets, and where it cannot answer its fallbacks, as far as the caller
    may use them.

    A call that comes a second time has an answer already, which its scene could not take: it comes to `repair` it.
    """
    asking = _Asking(accounts, draw)

    async def dispatched(call: Call) -> Reply:
        model = models[call.plan.steps[0].model]
        call.deadline = min(call.deadline, call.started + model.total_s)
        dues = budgets.of(call.caller, call.rights, call.parsed.user)
        try:
            return await asking.ask(call, model, dues, "repair" if call.attempts else "first")
        except UpstreamError as error:
            if verdict(error).fallback != "failed":
                raise
            return await asking.fall_back(call, _others(call, model, models), dues, error)

    return dispatched


def _others(call: Call, model: Model, models: Mapping[str, Model]) -> Iterator[Model]:
    """The fallbacks of a model that the caller may use and that can be asked at all."""
    for name in model.fallbacks:
        if call.rights.allows_model(name) and models[name].targets:
            yield models[name]


class _Asking:
    """The loop over a model's targets. `draw` gives uniform numbers in [0, 1)."""

    def __init__(self, accounts: Accounts, draw: Callable[[], float]) -> None:
        self._accounts = accounts
        self._draw = draw

    async def ask(self, call: Call, model: Model, dues: tuple[Due, ...], why: str) -> Reply:
        """One model, as often as its settings allow. Raises what its last attempt failed with."""
        if not model.targets:
            raise model.missing.with_traceback(None)
        call.model = model.name
        call.model_version = model.version
        model.retries.deposit(call.client_retries)
        gate, waited_s = model.gate, 0.0
        if not gate.try_enter():
            began = monotonic()
            await gate.wait(call.caller.app, call.deadline)
            waited_s = monotonic() - began
        try:
            reply = await self._ask_within(call, model, dues, why, waited_s)
        except BaseException:
            gate.leave()
            raise
        reply.on_close(lambda _: gate.leave())
        return reply

    async def _ask_within(self, call: Call, model: Model, dues: tuple[Due, ...], why: str, waited_s: float) -> Reply:
        """As `ask`, with a place at the model."""
        target, entry = await self._taken(call, model, ())
        try:
            return await self._open(call, target, entry, why, waited_s, dues)
        except UpstreamError as error:
            return await self._ask_again(call, model, target, dues, error)

    async def fall_back(
        self, call: Call, others: Iterator[Model], dues: tuple[Due, ...], failed: UpstreamError
    ) -> Reply:
        """The first of some models that answers. Raises what the last one failed with, `failed` where there is none."""
        for model in others:
            try:
                return await self.ask(call, model, dues, "fallback")
            except UpstreamError as error:
                failed = error
                if verdict(error).fallback != "failed":
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
                began = monotonic()
                if verdict(failed).at_once and not is_resent:
                    is_resent = True
                    model.retries.withdraw()
                    why = "stale_connection"
                else:
                    tried.append(target)
                    why = "retry"
                    delay_s = retry_delay_s(failed, call, model, tried, began, self._draw)
                    if delay_s is None:
                        raise failed
                    if delay_s:
                        await asyncio.sleep(delay_s)
                try:
                    target, entry = await self._taken(call, model, tried)
                except UpstreamError:
                    raise failed from None  # that nobody is left says less than why
                try:
                    return await self._open(call, target, entry, why, monotonic() - began, dues)
                except UpstreamError as error:
                    failed = error
        finally:
            del failed

    async def _taken(self, call: Call, model: Model, tried: "list[Target] | tuple[()]") -> tuple[Target, Entry]:
        """A target that took the call. Raises `Unavailable` where none may be asked in time."""
        while True:
            choice = model.choose(call, tried)
            if isinstance(choice, Choice):
                entry = enter(call, choice.target, is_last_resort=choice.is_last_resort)
                if entry is not None:
                    return choice.target, entry
                choice = monotonic()
            await model.wait(choice, call)

    async def _open(
        self, call: Call, target: Target, entry: Entry, why: str, waited_s: float, dues: tuple[Due, ...]
    ) -> Reply:
        """An attempt, for which money is set aside until it ends where budgets are concerned."""
        if not dues:
            return await attempt(call, target, entry, why, waited_s)
        try:
            reserved = await self._accounts.reserve(call, dues, target.price)
        except BaseException:
            target.told_nothing(entry)
            target.leave(entry, 0, None, monotonic())
            raise
        tried = len(call.attempts)
        try:
            reply = await attempt(call, target, entry, why, waited_s)
        except BaseException:
            self._accounts.settle(reserved, call, None, None)
            raise
        reply.on_close(lambda ended: self._accounts.settle(reserved, call, ended.usage, call.attempts[tried].cost))
        return reply
