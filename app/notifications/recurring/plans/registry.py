"""The queries that there are, and the schedules of mail that the service comes with."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from app.errors import ConflictError, Fault, InvalidInputError
from app.locales import NO_LOCALE, is_locale
from app.notifications.recurring.plans import digests, invoices, news, reminders, retries
from app.notifications.recurring.plans.plan import Portion, Tick
from app.notifications.templates.rendering import FALLBACK
from app.scheduling.schedules import Declaration, Schedule
from app.stores.connections import Stores

ACTOR = "fire_mails"
"""What the scheduler wakes for a schedule of mail."""

Planning = Callable[[Stores, Tick, Any], AsyncIterator[Portion]]


class Query(Struct, frozen=True):
    """Whom a tick writes to: by what `plan` finds, with the template that its data are for. None: no mails of its own."""

    plan: Planning
    options: type[Struct]
    template: str | None
    priority: int = 3


class Plan(Struct, frozen=True):
    """What a schedule of mail does on its ticks."""

    query: str
    template: str | None
    locale: str
    options: Mapping[str, Any]

    def args(self) -> dict[str, Any]:
        """As the row of the schedule keeps it."""
        return msgspec.structs.asdict(self)

    def portions(self, stores: Stores, tick: Tick) -> AsyncIterator[Portion]:
        query = QUERIES[self.query]
        return query.plan(stores, tick, msgspec.convert(self.options, query.options))

    @property
    def priority(self) -> int:
        return QUERIES[self.query].priority


QUERIES: Mapping[str, Query] = {
    "launch_reminders": Query(reminders.launch_reminders, reminders.Options, "launch-reminder", 2),
    "invoices_due": Query(invoices.invoices_due, invoices.DueOptions, "invoice-due"),
    "invoices_overdue": Query(invoices.invoices_overdue, invoices.OverdueOptions, "invoice-due"),
    "weekly_supplier_digest": Query(digests.weekly_supplier_digest, digests.Options, "weekly-digest", 4),
    "new_launches": Query(news.new_launches, news.Options, "new-launch", 4),
    "retry_sweep": Query(retries.retry_sweep, retries.Options, None),
}


def plan_of(
    query: str,
    *,
    template: str | None = None,
    locale: str = FALLBACK,
    options: Mapping[str, Any] | None = None,
) -> Plan:
    """What is wanted, with the query's own template unless another is named; raises InvalidInputError with every fault."""
    if query not in QUERIES:
        raise InvalidInputError("no schedule", [Fault("query", f"is one of {', '.join(QUERIES)}")])
    known = QUERIES[query]
    faults = list(_faults_in_options(known.options, options or {}))
    if not is_locale(locale):
        faults.append(Fault("locale", NO_LOCALE))
    if template is not None and known.template is None:
        faults.append(Fault("template", f"is of no use: {query} sends mails again as they are"))
    if faults:
        raise InvalidInputError("no schedule", faults)
    return Plan(query, template or known.template, locale, dict(options or {}))


def read_plan(schedule: Schedule | Declaration) -> Plan:
    """What a schedule of mail says.

    Raises ConflictError for one that is none of mail, InvalidInputError where its row was edited by hand into nonsense.
    """
    if schedule.actor != ACTOR:
        raise ConflictError(
            f"schedule {schedule.name!r} is none of mail; it can be fired, switched on and off"
        )
    try:
        wanted = msgspec.convert(schedule.args, Plan)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"the schedule's arguments cannot be read: {error}") from error
    return plan_of(wanted.query, template=wanted.template, locale=wanted.locale, options=wanted.options)


def _faults_in_options(kind: type[Struct], given: Mapping[str, Any]) -> list[Fault]:
    fields = {each.name: each for each in msgspec.structs.fields(kind)}
    known = ", ".join(fields) or "none"
    faults = [
        Fault(f"options/{name}", f"is unknown; known are {known}") for name in given.keys() - fields.keys()
    ]
    for name, each in fields.items():
        if name not in given:
            faults += [Fault(f"options/{name}", "is required")] if each.required else []
            continue
        try:
            msgspec.convert(given[name], each.type)
        except msgspec.ValidationError as error:
            faults.append(Fault(f"options/{name}", str(error)))
    return faults


def _shipped(name: str, cron: str, query: str, **options: Any) -> Declaration:
    return Declaration(name=name, cron=cron, actor=ACTOR, args=plan_of(query, options=options).args())


SHIPPED = (
    _shipped("launch-reminders-7-days", "0 * * * *", "launch_reminders", hours_before=7 * 24),
    _shipped("launch-reminders-24-hours", "5 * * * *", "launch_reminders", hours_before=24),
    _shipped("invoices-due", "0 8 * * *", "invoices_due"),
    _shipped("invoices-overdue", "15 8 * * *", "invoices_overdue"),
    _shipped("weekly-supplier-digest", "0 7 * * 1", "weekly_supplier_digest"),
    _shipped("retry-sweep", "50 * * * *", "retry_sweep"),
)
"""Declared in code: they can be switched off, and others added beside them."""
