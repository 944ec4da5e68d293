"""Mail that a service asks for: what it says is looked at as a whole, and becomes notifications or a list of every fault."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Meta, Struct

from app.accounts.encryption import Safe
from app.errors import (
    ConflictError,
    Fault,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    StoreUnavailableError,
    first_of,
)
from app.idempotency import Call, Once, answered, once
from app.locales import NO_LOCALE, Locale, is_locale
from app.notifications.addresses.recipients import Recipient, resolve
from app.notifications.asking.instants import SAID, instant
from app.notifications.asking.triggering import NORMAL, Mailing, Order, check_times, trigger
from app.notifications.delivering.transports.opening import chosen_transport
from app.notifications.ledger.views import MailView, Placed, Preview
from app.notifications.templates.catalogue import Version, load_version
from app.notifications.templates.content import OURS
from app.notifications.templates.rendering import FALLBACK, render
from app.notifications.templates.schemas import faults_in_data
from app.stores.connections import Stores
from config.settings import Settings, SettingsError

MOST_RECIPIENTS = 1000
MOST_BYTES = 4_000_000
"""Of the data of all recipients together, what they have in common counted for each."""

Instant = Annotated[str, Meta(max_length=120, description=SAID)]
Metadata = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=100)], Annotated[str, Meta(max_length=500)]],
    Meta(max_length=20, description="yours, to find the mail again by; kept, and shown with it"),
]


class Addressee(Struct, forbid_unknown_fields=True, frozen=True):
    """To whom: one of `email`, `customer` and `supplier`, the latter by id. `data` go over those that all have in common."""

    email: Annotated[str, Meta(min_length=1, max_length=320)] | None = None
    customer: UUID | None = None
    supplier: UUID | None = None
    locale: Locale | None = None
    data: dict[str, Any] = {}


class Wanted(Struct, forbid_unknown_fields=True, frozen=True):
    """Mail to one or a thousand recipients, from one template. Nothing is sent before `send_at`, or after `not_after`."""

    template: Annotated[str, Meta(min_length=1, max_length=100)]
    recipients: Annotated[list[Addressee], Meta(min_length=1, max_length=MOST_RECIPIENTS)]
    data: dict[str, Any] = {}
    locale: Locale = FALLBACK
    send_at: Instant | None = None
    not_after: Instant | None = None
    priority: Annotated[int, Meta(ge=1, le=5, description="1 goes first")] = NORMAL
    metadata: Metadata = {}


async def place(
    stores: Stores, safe: Safe, wanted: Wanted, call: Call, *, by: str, moment: datetime
) -> Once[Placed]:
    """Take an order: the notifications, what caused them and the answer to the call are there together, or not at all.

    Raises InvalidInputError with every fault, ConflictError for a template that is disabled or a call that is being carried
    out, ForbiddenError for one that is not for orders, StoreUnavailableError.
    """
    core = stores.core
    if before := await answered(core, call, Placed, moment=moment):
        return before
    # Before the transaction: it must not hold a connection of the core DB for as long as the other two databases take.
    order = await _order(stores, wanted, moment)

    async def work() -> Placed:
        batch = await trigger(connection, order, by=by, client=call.client, moment=moment, safe=safe)
        return Placed(batch.id, list(batch.notifications))

    async with core.acquire() as connection, connection.transaction():
        return await once(connection, call, work, Placed, moment=moment)


async def preview(stores: Stores, wanted: Wanted, *, why_blocked: bool, moment: datetime) -> Preview:
    """Look at an order as `place` does, and raise what it would raise; nothing is kept. `why_blocked`: tell that too."""
    order = await _order(stores, wanted, moment)
    blocked = await _blocked(stores.core, order, why=why_blocked)
    template, first = order.template, order.mailings[0]
    mail = await asyncio.to_thread(partial(render, template.content, first.data, locale=first.locale))
    return Preview(
        template=template.name,
        version=template.version,
        recipients=len(order.mailings),
        blocked=blocked,
        send_at=order.send_at,
        not_after=order.not_after,
        mail=MailView(mail.locale, mail.subject, mail.text, mail.html),
    )


def transport_of(settings: Settings) -> str:
    """The transport for new mail; raises StoreUnavailableError where nobody has said where mail goes."""
    try:
        return chosen_transport(settings)
    except SettingsError as error:
        raise StoreUnavailableError(str(error)) from error


async def _order(stores: Stores, wanted: Wanted, moment: datetime) -> Order:
    template = await _template(stores.core, wanted.template)
    faults: list[Fault] = []
    with _collecting(faults):
        send_at, not_after = _times(wanted, moment)
    with _collecting(faults):
        resolved = await resolve(stores, _recipients(wanted))
    with _collecting(faults):
        filled = await asyncio.to_thread(_filled, wanted, template)
    if faults:
        raise InvalidInputError(
            "the order breaks a rule" if len(faults) == 1 else "the order breaks rules", first_of(faults)
        )
    return Order(
        template=template,
        mailings=[Mailing(to, data, locale) for to, (data, locale) in zip(resolved, filled, strict=True)],
        transport=transport_of(stores.settings),
        send_at=send_at,
        not_after=not_after,
        priority=wanted.priority,
        metadata=wanted.metadata,
    )


async def _template(core: asyncpg.Pool, name: str) -> Version:
    try:
        template = await load_version(core, name)
    except NotFoundError as error:
        raise InvalidInputError(str(error), [Fault("template", "is none that there is")]) from error
    # Whoever could fill in a link here could ask people for their passwords in our name, or frighten operators.
    if template.kind in OURS:
        raise ForbiddenError(
            f"{name} is for mail of the kind {template.kind}, which this service sends by itself"
        )
    if not template.enabled:
        raise ConflictError(
            f"the template {name} is disabled: {template.disabled_because}",
            f"/v1/notification-templates/{name}",
        )
    return template


@contextmanager
def _collecting(faults: list[Fault]) -> Iterator[None]:
    try:
        yield
    except InvalidInputError as error:
        faults += error.faults


def _times(wanted: Wanted, moment: datetime) -> tuple[datetime | None, datetime | None]:
    """When it may go; None: at once, and for ever. A time that is over is now: nobody gets ahead by asking late."""
    faults: list[Fault] = []
    found: dict[str, datetime | None] = {}
    for where, given in (("send_at", wanted.send_at), ("not_after", wanted.not_after)):
        with _collecting(faults):
            found[where] = None if given is None else instant(given, where=where)
    if faults:
        raise InvalidInputError("no instants", faults)
    check_times(found["send_at"], found["not_after"], moment)
    due = found["send_at"]
    return due if due and due > moment else None, found["not_after"]


def _recipients(wanted: Wanted) -> list[Recipient]:
    faults = [
        Fault(f"recipients/{place}", "must name one of email, customer and supplier")
        for place, each in enumerate(wanted.recipients)
        if sum(one is not None for one in (each.email, each.customer, each.supplier)) != 1
    ]
    if faults:
        raise InvalidInputError("no recipients", faults)
    return [Recipient(each.email, each.customer, each.supplier) for each in wanted.recipients]


def _filled(wanted: Wanted, template: Version) -> list[tuple[dict[str, Any], str]]:
    """With what each mail is filled, and in which language; raises InvalidInputError with every fault of them."""
    common = len(msgspec.json.encode(wanted.data))
    if sum(common + len(msgspec.json.encode(each.data)) for each in wanted.recipients) > MOST_BYTES:
        message = (
            f"come to more than {MOST_BYTES:,} bytes over all recipients; spread them over several orders"
        )
        raise InvalidInputError("too much at once", [Fault("data", message)])
    data = [{**wanted.data, **each.data} if each.data else wanted.data for each in wanted.recipients]
    if faults := first_of(chain(_faults_in_locales(wanted), _faults_in_all(wanted, template, data))):
        raise InvalidInputError("data that do not fit", faults)
    locales = [each.locale or wanted.locale for each in wanted.recipients]
    return list(zip(data, locales, strict=True))


def _faults_in_all(wanted: Wanted, template: Version, data: Sequence[dict[str, Any]]) -> Iterator[Fault]:
    schema = template.content.schema
    if not all(each.data for each in wanted.recipients):
        yield from faults_in_data(schema, wanted.data)
    for place, each in enumerate(wanted.recipients):
        if each.data:
            yield from faults_in_data(schema, data[place], where=f"recipients/{place}/data")


def _faults_in_locales(wanted: Wanted) -> Iterator[Fault]:
    given = {f"recipients/{place}/locale": each.locale for place, each in enumerate(wanted.recipients)}
    for where, locale in {"locale": wanted.locale, **given}.items():
        if locale is not None and not is_locale(locale):
            yield Fault(where, NO_LOCALE)


async def _blocked(core: asyncpg.Pool, order: Order, *, why: bool) -> list[Fault]:
    """Recipients who would not get this mail if it went now."""
    keys = [each.recipient.address.key for each in order.mailings]
    rows = await core.fetch(
        "SELECT email_key, reason FROM suppressions WHERE email_key = ANY($1) AND scope IN ('all', $2)",
        keys,
        order.template.kind,
    )
    reasons = {row["email_key"]: row["reason"] for row in rows}
    return [
        Fault(f"recipients/{place}", f"the address is blocked: {reasons[key]}" if why else "would not get it")
        for place, key in enumerate(keys)
        if key in reasons
    ]
