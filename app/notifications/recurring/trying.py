"""Who would get what: a schedule of mail as if it were fired now. Nothing is asked for, and whoever looks is recorded."""

import asyncio
from datetime import datetime
from functools import partial
from uuid import UUID

from msgspec import Struct

from app.audit.entries import Fact
from app.audit.reads import record_read
from app.audit.store import AuditStore
from app.notifications.asking.triggering import Mailing
from app.notifications.ledger.views import MailView
from app.notifications.recurring.firing import Firing, prepare
from app.notifications.recurring.plans.drafts import check
from app.notifications.recurring.views import DryRun, Skipped, WouldGet
from app.notifications.templates.catalogue import Version
from app.notifications.templates.rendering import render
from app.stores.connections import Stores


class _Found(Struct):
    """What has been found so far."""

    mailings: list[Mailing] = []
    skipped: list[Skipped] = []
    retries: list[UUID] = []

    @property
    def most(self) -> int:
        return max(len(self.mailings), len(self.skipped), len(self.retries))


async def dry_run(stores: Stores, name: str, *, by: str, moment: datetime, limit: int) -> DryRun:
    """The first mails that a tick at this moment would ask for.

    Raises NotFoundError, ConflictError for a schedule that is none of mail, InvalidInputError; StoreUnavailableError where it cannot be recorded who looks.
    """
    firing = await prepare(stores, name, moment, moment)
    found = await _find(stores, firing, limit)
    template = firing.template
    view = DryRun(
        schedule=name,
        tick=moment,
        template=firing.plan.template,
        version=template.version if template else None,
        recipients=await _recipients(stores, firing, found.mailings[:limit]),
        skipped=found.skipped[:limit],
        retries=found.retries[:limit],
        complete=found.most <= limit,
        mail=await _first(template, found.mailings),
    )
    await record_read(AuditStore.of(stores), Fact.SCHEDULE_TRIED, by=by, filters={"schedule": name})
    return view


async def _find(stores: Stores, firing: Firing, limit: int) -> _Found:
    """More than the limit, if there are more."""
    found, template = _Found(), firing.template
    async for portion in firing.plan.portions(stores, firing.tick):
        found.retries += portion.retries
        if template is not None and not firing.is_late(portion):
            checked = await check(
                stores.core, firing.schedule.name, template, firing.plan.locale, portion.drafts
            )
            found.mailings += checked.mailings
            found.skipped += checked.skipped
        if found.most > limit:
            break
    return found


async def _recipients(stores: Stores, firing: Firing, mailings: list[Mailing]) -> list[WouldGet]:
    rows = await stores.core.fetch(
        "SELECT email_key, reason FROM suppressions WHERE email_key = ANY($1) AND scope IN ('all', $2)",
        [each.recipient.address.key for each in mailings],
        firing.template.kind if firing.template else "",
    )
    blocked = {row["email_key"]: f"the address is blocked: {row['reason']}" for row in rows}
    return [_would_get(each, firing.note or blocked.get(each.recipient.address.key)) for each in mailings]


def _would_get(mailing: Mailing, blocked: str | None) -> WouldGet:
    to, occasion = mailing.recipient, mailing.occasion
    assert occasion is not None
    return WouldGet(to.kind, to.id, to.address.spelled, occasion.tick, occasion.name, blocked)


async def _first(template: Version | None, mailings: list[Mailing]) -> MailView | None:
    if template is None or not mailings:
        return None
    mail = await asyncio.to_thread(
        partial(render, template.content, mailings[0].data, locale=mailings[0].locale)
    )
    return MailView(mail.locale, mail.subject, mail.text, mail.html)
