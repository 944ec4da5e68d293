"""Invoices that are to be paid. They are kept in the admin DB alone."""

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Annotated

import asyncpg
from msgspec import Meta, Struct

from app.notifications.recurring.plans.people import BATCH
from app.notifications.recurring.plans.plan import (
    LAUNCH,
    LAUNCHES,
    MOST_NAME,
    Draft,
    Portion,
    Telling,
    Tick,
    launch_data,
)
from app.stores.connections import Stores
from app.stores.vocabulary import InvoiceStatus

_DAY, _WEEK = timedelta(days=1), timedelta(days=7)
_INVOICES = f"""
    SELECT invoices.id, amount, due_date, suppliers.id AS supplier_id, company_name, contact_email, {LAUNCH}
    FROM invoices JOIN suppliers ON suppliers.id = invoices.supplier_id JOIN ({LAUNCHES}) ON launches.id = invoices.launch_id
    WHERE invoices.status = ANY($1) AND due_date BETWEEN $2 AND $3 ORDER BY due_date, invoices.id
"""


class DueOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """How long before the day by which an invoice is to be paid."""

    days_before: Annotated[int, Meta(ge=1, le=365)] = 7


class OverdueOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """The day after an invoice was to be paid, and how often again, a week apart each."""

    again: Annotated[int, Meta(ge=0, le=52)] = 3


async def invoices_due(stores: Stores, tick: Tick, options: DueOptions) -> AsyncIterator[Portion]:
    """The supplier of every invoice that is to be paid within so many days, once per invoice and day."""
    today = tick.at.astimezone(tick.zone).date()
    rows = await stores.admin.fetch(
        _INVOICES, [InvoiceStatus.PENDING], today + _DAY, today + options.days_before * _DAY
    )
    for day, found in groupby(rows, key=lambda row: row["due_date"]):
        drafts = [_draft(stores, row, _midnight(day), overdue=False) for row in found]
        for portion in _cut(drafts):
            yield Portion(portion, not_after=_midnight(day + _DAY))


async def invoices_overdue(stores: Stores, tick: Tick, options: OverdueOptions) -> AsyncIterator[Portion]:
    """The supplier of every invoice that was not paid in time: the day after, and once a week."""
    today = tick.at.astimezone(tick.zone).date()
    rows = await stores.admin.fetch(
        _INVOICES,
        [InvoiceStatus.PENDING, InvoiceStatus.FAILED],
        today - (7 * (options.again + 1)) * _DAY,
        today - _DAY,
    )
    drafts = [_draft(stores, row, _midnight(_told_on(row["due_date"], today)), overdue=True) for row in rows]
    drafts.sort(key=lambda draft: draft.due)
    for due, found in groupby(drafts, key=lambda draft: draft.due):
        for portion in _cut(list(found)):
            yield Portion(portion, not_after=due + _WEEK)


def _told_on(due: date, today: date) -> date:
    """The last day on which the supplier was to be told."""
    return today - timedelta(days=((today - due).days - 1) % 7)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _cut(drafts: list[Draft]) -> Iterable[list[Draft]]:
    return (drafts[start : start + BATCH] for start in range(0, len(drafts), BATCH))


def _draft(stores: Stores, row: asyncpg.Record, due: datetime, *, overdue: bool) -> Draft:
    telling = Telling.of(stores)
    data = {
        "supplier": {"company_name": row["company_name"][:MOST_NAME]},
        "invoice": {
            "number": str(row["id"]),
            "amount": telling.money(row["amount"]),
            "due_date": row["due_date"].isoformat(),
        },
        "overdue": overdue,
        "launch": launch_data(row),
        "link": f"{telling.suppliers}/invoices/{row['id']}",
    }
    return Draft("supplier", row["supplier_id"], row["contact_email"], due, str(row["id"]), data)
