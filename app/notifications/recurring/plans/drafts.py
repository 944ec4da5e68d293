"""Drafts become mails: those that went before are left out, those that cannot be written are told of."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import asyncpg

from app.accounts.addresses import address
from app.errors import InvalidInputError
from app.notifications.addresses.recipients import Resolved
from app.notifications.asking.triggering import Mailing, Occasion
from app.notifications.recurring.plans.plan import Draft
from app.notifications.recurring.views import Skipped
from app.notifications.templates.catalogue import Version
from app.notifications.templates.schemas import faults_in_data

_GONE = """
    SELECT tick, occasion FROM notifications JOIN unnest($2::timestamptz[], $3::text[]) AS given (tick, occasion)
        USING (tick, occasion)
    WHERE schedule = $1
"""


class Checked(NamedTuple):
    """Mails that are new, and whoever cannot get one."""

    mailings: list[Mailing]
    skipped: list[Skipped]


async def check(
    core: asyncpg.Pool | asyncpg.Connection,
    schedule: str,
    template: Version,
    locale: str,
    drafts: Sequence[Draft],
) -> Checked:
    """What of these has not gone yet, held to the template."""
    rows = await core.fetch(_GONE, schedule, [each.due for each in drafts], [each.name for each in drafts])
    gone = {(row["tick"], row["occasion"]) for row in rows}
    new = [each for each in drafts if (each.due, each.name) not in gone]
    return await asyncio.to_thread(partial(_check, schedule, template, locale, new))


def _check(schedule: str, template: Version, locale: str, drafts: Sequence[Draft]) -> Checked:
    checked = Checked([], [])
    for each in drafts:
        try:
            checked.mailings.append(_mailing(schedule, template, locale, each))
        except InvalidInputError as error:
            checked.skipped.append(Skipped(each.kind, each.id, error.faults[0]))
    return checked


def _mailing(schedule: str, template: Version, locale: str, draft: Draft) -> Mailing:
    to = Resolved(draft.kind, draft.id, address(draft.email if isinstance(draft.email, str) else ""))
    if faults := faults_in_data(template.content.schema, draft.data):
        raise InvalidInputError("data that do not fit", faults)
    return Mailing(to, draft.data, locale, Occasion(schedule, draft.due, draft.name))
