"""Budgets: declared, looked at, changed, and corrected.

Keys of the built-in app see and write all. Other keys see those of their own app, its keys and its users, and may
tighten them.
"""

from asyncio import to_thread
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from dujiang.api import entries
from dujiang.api.budget_items import (
    BudgetDetail,
    BudgetItem,
    BudgetList,
    BudgetPatch,
    CorrectionItem,
    NewBudget,
    NewCorrection,
    account_item,
    budget_item,
    correction_item,
)
from dujiang.api.config import author_of
from dujiang.api.deps import PLATFORM_APP, Serving, holding, writing
from dujiang.config.budgets import IDENTITY, SECTION, Items, adding, changing, id_in_document, no_budget, removing
from dujiang.config.state import Proposal
from dujiang.core.call import Caller
from dujiang.core.errors import AppError, Conflict, Forbidden, InvalidRequest, Unprocessable
from dujiang.identity.budgets import Listed
from dujiang.identity.correcting import correcting
from dujiang.identity.corrections import count
from dujiang.identity.settings import BudgetSettings
from dujiang.runtime import Runtime

router = APIRouter(prefix="/api/v1/budgets", tags=["identity"])

Reading = Annotated[Caller, Depends(holding("budgets:read"))]
Writing = Annotated[Caller, Depends(writing("budgets:write", holding("budgets:write")))]
Limit = Annotated[int, Query(ge=1, le=1000)]

_SHOWN_CORRECTIONS = 200


@router.get("")
async def list_budgets(runtime: Serving, caller: Reading, limit: Limit = 200, cursor: str | None = None) -> BudgetList:
    """The budgets that the key may see, and how they stand: those of the document, of apps, of keys."""
    seen = list(_seen(runtime, caller).values())
    start = 0 if cursor is None else 1 + _place_of(seen, cursor)
    page = seen[start : start + limit]
    standings = await runtime.standings.of(page)
    items = [budget_item(each, standing) for each, standing in zip(page, standings, strict=True)]
    return BudgetList(items=items, next_cursor=items[-1].id if start + limit < len(seen) else None)


@router.post("", status_code=201, openapi_extra=entries.described(NewBudget))
async def create_budget(request: Request, response: Response, runtime: Serving, caller: Writing) -> BudgetItem:
    """One more budget in the document."""
    wanted = await entries.read_body(request, NewBudget)
    if caller.app != PLATFORM_APP and not _is_own(wanted.subject, caller.app, runtime.callers()):
        raise await _refused(
            runtime,
            caller,
            "create",
            Forbidden(
                f"A key of `{caller.app}` makes budgets for that app, its keys and its users.",
                reason="scope",
                param="subject",
            ),
        )
    budget = {key: value for key, value in wanted.model_dump(exclude_unset=True).items() if value is not None}
    done = await _edit(runtime, caller, adding(budget), "create", response)
    return await _item(runtime, done.checked.document.budgets[-1])


@router.get("/{id}")
async def get_budget(id: str, runtime: Serving, caller: Reading) -> BudgetDetail:
    """A budget, who spent of it, and what was corrected."""
    listed = _one(runtime, caller, id)
    [standing] = await runtime.standings.of([listed])
    accounts = await runtime.standings.accounts(listed)
    found = await to_thread(runtime.ledger.corrections, id, standing.window.start_s, _SHOWN_CORRECTIONS)
    return BudgetDetail(
        **budget_item(listed, standing).model_dump(),
        accounts=[account_item(each) for each in accounts],
        corrections=[correction_item(each, listed.purse.terms.currency) for each in found],
    )


@router.patch("/{id}", openapi_extra=entries.described(BudgetPatch))
async def change_budget(id: str, request: Request, response: Response, runtime: Serving, caller: Writing) -> BudgetItem:
    """A JSON merge patch of its amount, `soft_ratio`, `then` and `timezone`. What is spent stays spent."""
    body = await entries.body_of(request)
    for key in IDENTITY:
        if key in body:
            raise Unprocessable(
                f"`{key}` makes a budget the one that it is: make another, and delete this one.",
                reason="identity",
                param=key,
            )
    patch = entries.validated(body, BudgetPatch).model_dump(exclude_unset=True)
    _require_declared(_one(runtime, caller, id))
    done = await _edit(runtime, caller, changing(id, patch), "change", response)
    return await _item(runtime, next(each for each in done.checked.document.budgets if id_in_document(each) == id))


@router.delete("/{id}", status_code=204)
async def delete_budget(id: str, response: Response, runtime: Serving, caller: Writing) -> None:
    """Nobody is held to it any more. What was spent stays in the ledger, and counts where the same comes back."""
    _require_declared(_one(runtime, caller, id))
    await _edit(runtime, caller, removing(id), "delete", response)


@router.post("/{id}/corrections", status_code=201, openapi_extra=entries.described(NewCorrection))
async def correct(id: str, request: Request, runtime: Serving, caller: Writing) -> CorrectionItem:
    """Count an amount as spent, or give some back, in the window that is running or an earlier one."""
    body = await entries.read_body(request, NewCorrection)
    listed = _one(runtime, caller, id)
    wanted = correcting(listed, body.amount, body.subject, body.window_start)
    author = author_of(runtime, caller)
    if wanted.amount_micros < 0 and not author.is_unlimited:
        refusal = Forbidden("Giving money back takes the permission `*`.", reason="grant", param="amount")
        raise await _refused(runtime, caller, "correct", refusal)
    currency = listed.purse.terms.currency
    made = await to_thread(
        runtime.ledger.correct, wanted.account, currency, wanted.amount_micros, reason=body.reason, author=author.name
    )
    await count(runtime.store, made)
    return correction_item(made, currency)


async def _edit(
    runtime: Runtime, caller: Caller, make: Callable[[Items], Items], action: str, response: Response
) -> Proposal:
    author = author_of(runtime, caller)
    done = await runtime.configure(lambda config: config.edit_list(SECTION, make, author, action, SECTION))
    response.headers["ETag"] = f'"{done.revision}"'
    return done


async def _item(runtime: Runtime, declared: BudgetSettings) -> BudgetItem:
    """A budget of the document as it stands."""
    id = id_in_document(declared)
    listed = next((each for each in runtime.snapshot.budgets.listed(()) if each.id == id), None)
    if listed is None:
        raise no_budget(id)  # somebody else was faster
    [standing] = await runtime.standings.of([listed])
    return budget_item(listed, standing)


def _seen(runtime: Runtime, caller: Caller) -> Mapping[str, Listed]:
    """The budgets that a caller may see, by id."""
    callers = runtime.callers()
    listed = runtime.snapshot.budgets.listed(callers.values())
    is_all = caller.app == PLATFORM_APP
    return {each.id: each for each in listed if is_all or _is_own(each.subject, caller.app, callers)}


def _is_own(subject: str, app: str, callers: Mapping[str, Caller]) -> bool:
    """Whether all that a subject means belongs to an app. Roles, and patterns over apps, are the platform's."""
    kind, _, name = subject.partition(":")
    if kind == "key":
        holder = callers.get(name)
        return holder is not None and holder.app == app
    return name == app if kind == "app" else kind == "user" and name.startswith(f"{app}/")


def _place_of(seen: Sequence[Listed], cursor: str) -> int:
    for n, each in enumerate(seen):
        if each.id == cursor:
            return n
    raise InvalidRequest("There is no such page: begin without a `cursor`.", param="cursor")


def _one(runtime: Runtime, caller: Caller, id: str) -> Listed:
    """Raises `NotFound`, for a budget that the caller may not see too."""
    found = _seen(runtime, caller).get(id)
    if found is None:
        raise no_budget(id)
    return found


def _require_declared(listed: Listed) -> None:
    if listed.source != "document":
        raise Conflict(
            f"This is the own budget of `{listed.subject}`: change it there, at `/api/v1/{listed.source}s`.",
            reason="own_budget",
            param="id",
        )


async def _refused(runtime: Runtime, caller: Caller, action: str, error: AppError) -> AppError:
    """An error that leaves a row in the audit."""
    author = author_of(runtime, caller)
    await runtime.configure(lambda config: config.note_refusal(author, action, error))
    return error
