"""Schedules as operators look after them. Each change and its fact in the audit commit together."""

import re
from collections.abc import Mapping
from datetime import MINYEAR, UTC, datetime, timedelta
from itertools import islice
from typing import Any

import asyncpg
from msgspec import UNSET, Struct, UnsetType

from app.audit.entries import Fact
from app.audit.outbox import record
from app.errors import ConflictError, Fault, InvalidInputError, NotFoundError
from app.idempotency import Call, Once, once
from app.notifications.recurring.plans.registry import ACTOR, Plan, plan_of, read_plan
from app.notifications.recurring.views import DueView, ScheduleDetail, ScheduleView, TickView, Triggered
from app.notifications.templates.catalogue import load_version
from app.notifications.templates.content import Kind
from app.pages import Page, check_limit, decode_cursor, encode_cursor
from app.scheduling import cron, schedules
from app.scheduling.by_hand import add_tick, upcoming
from app.scheduling.schedules import CatchUp, Declaration, Schedule
from app.stores.connections import Stores

NEXT, LAST = 5, 20
"""Ticks that are shown of one schedule."""
ENTITY = "schedules"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_NOT_NAMES = frozenset({"due"})  # which is another path

_TICKS = """
    SELECT tick, status, reason, triggered_by, sent_at, finished_at, mails, skipped, note, resent FROM ticks
    WHERE schedule = $1 ORDER BY tick DESC LIMIT $2
"""
_LAST_TICKS = """
    SELECT name, last.* FROM schedules, LATERAL (
        SELECT tick, status, reason, triggered_by, sent_at, finished_at, mails, skipped, note, resent FROM ticks
        WHERE schedule = schedules.name ORDER BY tick DESC LIMIT 1) AS last
"""


class Wanted(Struct, frozen=True):
    """A schedule of mail as it is asked for."""

    name: str
    cron: str
    query: str
    zone: str = "UTC"
    template: str | None = None
    locale: str = "en"
    options: Mapping[str, Any] = {}
    catch_up: CatchUp = "fire_once"
    enabled: bool = True


class Change(Struct, frozen=True):
    """What is to be another in a schedule of mail; what is left out stays."""

    cron: str | UnsetType = UNSET
    zone: str | UnsetType = UNSET
    template: str | UnsetType = UNSET
    locale: str | UnsetType = UNSET
    options: Mapping[str, Any] | UnsetType = UNSET
    catch_up: CatchUp | UnsetType = UNSET


async def list_schedules(stores: Stores, moment: datetime) -> list[ScheduleView]:
    """Every schedule by name, those of the service's other work too."""
    last = {row["name"]: _tick(row) for row in await stores.core.fetch(_LAST_TICKS)}
    found = await schedules.list_schedules(stores.core)
    return [_view(each, moment, last.get(each.name)) for each in found]


async def get_schedule(stores: Stores, name: str, moment: datetime) -> ScheduleDetail:
    """One schedule with its next and its last ticks; raises NotFoundError."""
    schedule = await schedules.get_schedule(stores.core, name)
    ticks = [_tick(row) for row in await stores.core.fetch(_TICKS, name, LAST)]
    following = upcoming([schedule], moment, moment + timedelta(days=366))
    next_ticks = [tick for tick, _ in islice(following, NEXT)]
    return ScheduleDetail(_view(schedule, moment, ticks[0] if ticks else None), next_ticks, ticks)


async def due(
    stores: Stores, moment: datetime, *, days: int, name: str | None, limit: int, cursor: str | None
) -> Page[DueView]:
    """When schedules of mail come due within so many days, or one of them; raises NotFoundError for one that there is not."""
    found = await _of_mail(stores) if name is None else [await schedules.get_schedule(stores.core, name)]
    by_name = {each.name: each for each in found if each.actor == ACTOR}
    after = decode_cursor(cursor, _place)
    start = max(moment, after[0] - timedelta(minutes=1)) if after else moment
    ticks = upcoming(list(by_name.values()), start, moment + timedelta(days=days))
    left = list(islice((each for each in ticks if not after or each > after), check_limit(limit) + 1))
    more = len(left) > limit
    tick, last = left[limit - 1] if more else (moment, "")
    items = [_due(tick, by_name[each]) for tick, each in left[:limit]]
    return Page(items, encode_cursor(f"{tick.isoformat()} {last}") if more else None)


async def create(stores: Stores, wanted: Wanted, *, by: str, reason: str, moment: datetime) -> ScheduleDetail:
    """Add a schedule. Raises InvalidInputError with every fault, ConflictError where the name is taken."""
    async with stores.core.acquire() as connection, connection.transaction():
        declaration = await _declaration(connection, wanted)
        await schedules.create_schedule(connection, declaration, now=moment)
        if not wanted.enabled:
            await schedules.set_enabled(connection, wanted.name, enabled=False, now=moment)
        await _tell(
            connection, Fact.SCHEDULE_CREATED, wanted.name, by=by, reason=reason, detail=_detail(declaration)
        )
    return await get_schedule(stores, wanted.name, moment)


async def change(
    stores: Stores, name: str, wanted: Change, *, by: str, reason: str, moment: datetime
) -> ScheduleDetail:
    """Make a schedule another. Raises NotFoundError, InvalidInputError; ConflictError for one that is none of mail."""
    async with stores.core.acquire() as connection, connection.transaction():
        now = await schedules.get_schedule(connection, name, lock=True)
        declaration = await _declaration(connection, _changed(now, wanted))
        await _become(connection, declaration, by, reason, moment)
    return await get_schedule(stores, name, moment)


async def reset(stores: Stores, name: str, *, by: str, reason: str, moment: datetime) -> ScheduleDetail:
    """Make a schedule what is declared of it again. Raises NotFoundError; ConflictError where it is that, or was added."""
    async with stores.core.acquire() as connection, connection.transaction():
        now = await schedules.get_schedule(connection, name, lock=True)
        if now.declared is None:
            raise ConflictError(f"schedule {name!r} was added; nothing else is declared of it")
        if not now.edited:
            raise ConflictError(f"schedule {name!r} is what is declared of it")
        declaration = Declaration(name=name, actor=now.actor, **now.declared)
        await _become(connection, declaration, by, reason, moment)
    return await get_schedule(stores, name, moment)


async def _become(
    connection: asyncpg.Connection, declaration: Declaration, by: str, reason: str, moment: datetime
) -> None:
    await schedules.change_schedule(connection, declaration, now=moment)
    detail = _detail(declaration)
    await _tell(connection, Fact.SCHEDULE_CHANGED, declaration.name, by=by, reason=reason, detail=detail)


async def enable(
    stores: Stores, name: str, *, enabled: bool, by: str, reason: str, moment: datetime
) -> ScheduleDetail:
    """Switch a schedule on or off: any of the service's. Raises NotFoundError; ConflictError where it is so already."""
    async with stores.core.acquire() as connection, connection.transaction():
        before = await schedules.get_schedule(connection, name, lock=True)
        if before.enabled == enabled:
            raise ConflictError(f"schedule {name!r} is {'on' if enabled else 'off'} already")
        await schedules.set_enabled(connection, name, enabled=enabled, now=moment)
        fact = Fact.SCHEDULE_ENABLED if enabled else Fact.SCHEDULE_DISABLED
        await _tell(connection, fact, name, by=by, reason=reason)
    return await get_schedule(stores, name, moment)


async def delete(stores: Stores, name: str, *, by: str, reason: str) -> None:
    """Remove a schedule with its ticks; its mails stay. Raises NotFoundError; ConflictError for one that is declared in code."""
    async with stores.core.acquire() as connection, connection.transaction():
        await schedules.delete_schedule(connection, name)
        await _tell(connection, Fact.SCHEDULE_DELETED, name, by=by, reason=reason)


async def trigger(
    stores: Stores, name: str, call: Call, *, by: str, moment: datetime, reason: str | None = None
) -> Once[Triggered]:
    """Have any schedule fired once, now, whether it is on or off: the tick commits with the answer, and the scheduler sends it.

    Raises NotFoundError, ConflictError, InvalidInputError; see `idempotency.once`.
    """

    async def work() -> Triggered:
        tick = await add_tick(connection, await schedules.get_schedule(connection, name), by=by)
        detail = {"tick": tick.isoformat()}
        await _tell(connection, Fact.SCHEDULE_TRIGGERED, name, by=by, reason=reason, detail=detail)
        return Triggered(name, tick)

    async with stores.core.acquire() as connection, connection.transaction():
        return await once(connection, call, work, Triggered, moment=moment)


async def _of_mail(stores: Stores) -> list[Schedule]:
    return [each for each in await schedules.list_active(stores.core) if each.actor == ACTOR]


async def _declaration(connection: asyncpg.Connection, wanted: Wanted) -> Declaration:
    faults = [] if _NAME.fullmatch(wanted.name) and wanted.name not in _NOT_NAMES else [_bad_name()]
    plan: Plan | None = None
    try:
        plan = plan_of(wanted.query, template=wanted.template, locale=wanted.locale, options=wanted.options)
        faults += await _faults_in_template(connection, plan.template)
    except InvalidInputError as error:
        faults += error.faults
    faults += [*_faults_in_cron("cron", wanted.cron), *_faults_in_cron("zone", "@daily", wanted.zone)]
    if faults or plan is None:
        raise InvalidInputError("no schedule that can be kept", faults)
    return Declaration(wanted.name, wanted.cron, ACTOR, wanted.zone, plan.args(), wanted.catch_up)


def _faults_in_cron(where: str, spec: str, zone: str = "UTC") -> list[Fault]:
    try:
        cron.parse(spec, zone)
    except cron.CronError as error:
        return [Fault(where, str(error))]
    return []


def _bad_name() -> Fault:
    return Fault("name", "is 1 to 63 of a-z, 0-9 and -, a letter first, and not one of: due")


async def _faults_in_template(connection: asyncpg.Connection, name: str | None) -> list[Fault]:
    if name is None:
        return []
    try:
        template = await load_version(connection, name)
    except NotFoundError:
        return [Fault("template", "is none that there is")]
    # As in orders: a link of an account is no schedule's to send.
    secret = template.kind is Kind.SECURITY
    return [Fault("template", "is for mail about accounts, which is sent by itself")] if secret else []


def _changed(now: Schedule, wanted: Change) -> Wanted:
    plan = read_plan(now)
    fields = {name: getattr(wanted, name) for name in wanted.__struct_fields__}
    given = {name: value for name, value in fields.items() if value is not UNSET}
    kept = {
        "cron": now.cron, "zone": now.zone, "catch_up": now.catch_up, "template": plan.template, "locale": plan.locale,
        "options": plan.options,
    }  # fmt: skip
    return Wanted(**{"name": now.name, "query": plan.query} | kept | given)


def _detail(declaration: Declaration) -> dict[str, Any]:
    return {
        "cron": declaration.cron,
        "zone": declaration.zone,
        "catch_up": declaration.catch_up,
        "args": dict(declaration.args),
    }


async def _tell(
    connection: asyncpg.Connection,
    fact: Fact,
    name: str,
    *,
    by: str,
    reason: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    await record(connection, fact, by=by, target=name, reason=reason, detail=detail, entity=ENTITY, key=name)


def _view(each: Schedule, moment: datetime, last: TickView | None) -> ScheduleView:
    of_mail = each.actor == ACTOR
    return ScheduleView(
        name=each.name,
        cron=each.cron,
        zone=each.zone,
        actor=each.actor,
        query=each.args.get("query") if of_mail else None,
        template=each.args.get("template") if of_mail else None,
        locale=each.args.get("locale") if of_mail else None,
        options=dict(each.args.get("options", {})) if of_mail else dict(each.args),
        catch_up=each.catch_up,
        fixed=each.fixed,
        edited=each.edited,
        enabled=each.enabled,
        retired_at=each.retired_at,
        next_tick=_next(each, moment),
        last=last,
    )


def _next(each: Schedule, moment: datetime) -> datetime | None:
    try:
        return each.next_tick(moment)
    except cron.CronError:  # of a row that was edited by hand
        return None


def _tick(row: asyncpg.Record) -> TickView:
    return TickView(**{name: row[name] for name in TickView.__struct_fields__})


def _due(tick: datetime, each: Schedule) -> DueView:
    return DueView(tick, each.name, each.args.get("query", ""), each.args.get("template"))


def _place(text: str) -> tuple[datetime, str]:
    tick, _, name = text.partition(" ")
    at = datetime.fromisoformat(tick)
    if at.tzinfo is None or at.astimezone(UTC).year == MINYEAR:
        raise ValueError("no tick of ours is spelled so")
    return at, name
