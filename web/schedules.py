"""Schedules over HTTP: what comes due when, what it has sent, and what it would send."""

from typing import Annotated, Any

from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import asdict

from app.accounts.permissions import Scope
from app.clock import now
from app.idempotency import call_of
from app.locales import Locale
from app.notifications.recurring import schedules, trying
from app.notifications.recurring.schedules import Change, Wanted
from app.notifications.recurring.views import DryRun, DueView, ScheduleDetail, ScheduleView, Triggered
from app.pages import LIMIT_DEFAULT, LIMIT_MAX, Page
from app.scheduling.schedules import CatchUp
from web.guards import Calling, needs
from web.idempotency import Keyed, key_of, refuse_unkeyed, replayed
from web.inputs import Cursor, Decision, Limit, Reason, Why
from web.stores import Opened

SCHEDULES = "/v1/schedules"
WRITE = needs(Scope.SCHEDULES_WRITE)

Text = Annotated[str, Meta(min_length=1, max_length=200)]
Days = Annotated[int, QueryParameter(ge=1, le=366, description="how far ahead to look")]
Options = Annotated[dict[str, Any], Meta(description="of the query, as hours_before of launch_reminders")]


class NewSchedule(Struct, forbid_unknown_fields=True):
    """A schedule of mail: when (five fields of cron, and a zone), to whom (a query), from which template."""

    name: Text
    cron: Text
    query: Text
    reason: Reason
    zone: Text = "UTC"
    template: Text | None = None
    locale: Locale = "en"
    options: Options = {}
    catch_up: CatchUp = "fire_once"
    enabled: bool = True


class ScheduleChange(Struct, forbid_unknown_fields=True):
    """What is to be another; what is left out stays."""

    reason: Reason
    cron: Text | UnsetType = UNSET
    zone: Text | UnsetType = UNSET
    template: Text | UnsetType = UNSET
    locale: Locale | UnsetType = UNSET
    options: Options | UnsetType = UNSET
    catch_up: CatchUp | UnsetType = UNSET


class Trial(Struct, forbid_unknown_fields=True, frozen=True):
    """How many recipients to tell at most."""

    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT


_TRIAL = Trial()


class Schedules(Controller):
    """When mail goes by itself, and when the service's other work is done."""

    path = "/schedules"
    tags = ("schedules",)
    opt = needs(Scope.NOTIFICATIONS_READ)

    @get(summary="List schedules")
    async def list_schedules(self, stores: Opened) -> list[ScheduleView]:
        return await schedules.list_schedules(stores, now())

    @get("/due", summary="List when schedules of mail come due")
    async def list_due(
        self,
        *,
        stores: Opened,
        days: Days = 30,
        schedule: FromQuery[str | None] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[DueView]:
        """The next ones first. Mail that was asked for ahead of its time is listed by `/v1/notifications?status=scheduled`."""
        return await schedules.due(stores, now(), days=days, name=schedule, limit=limit, cursor=cursor)

    @get("/{name:str}", summary="Show a schedule, when it is due, and what came of its last ticks")
    async def get_schedule(self, stores: Opened, name: FromPath[str]) -> ScheduleDetail:
        return await schedules.get_schedule(stores, name, now())

    @post(summary="Add a schedule of mail", opt=WRITE)
    async def add_schedule(
        self, stores: Opened, caller: Calling, data: JSONBody[NewSchedule]
    ) -> Response[ScheduleDetail]:
        """422 lists every fault, 409 tells of a name that is taken."""
        wanted = {name: value for name, value in asdict(data).items() if name != "reason"}
        made = await schedules.create(
            stores, Wanted(**wanted), by=caller.name, reason=data.reason, moment=now()
        )
        return Response(made, status_code=201, headers={"Location": f"{SCHEDULES}/{data.name}"})

    @patch("/{name:str}", summary="Change a schedule of mail", opt=WRITE)
    async def change_schedule(
        self, stores: Opened, caller: Calling, name: FromPath[str], data: JSONBody[ScheduleChange]
    ) -> ScheduleDetail:
        """One that comes with the service too: it stays so until it is reset. 409 for one that is none of mail."""
        change = {each: value for each, value in asdict(data).items() if each != "reason"}
        return await schedules.change(
            stores, name, Change(**change), by=caller.name, reason=data.reason, moment=now()
        )

    @post("/{name:str}/reset", status_code=200, summary="Undo what was changed of a schedule", opt=WRITE)
    async def reset_schedule(
        self, stores: Opened, caller: Calling, name: FromPath[str], data: JSONBody[Decision]
    ) -> ScheduleDetail:
        """As it came with the service. Whether it is on stays as it is; 409 where nothing was changed."""
        return await schedules.reset(stores, name, by=caller.name, reason=data.reason, moment=now())

    @post("/{name:str}/enable", status_code=200, summary="Switch a schedule on", opt=WRITE)
    async def enable_schedule(
        self, stores: Opened, caller: Calling, name: FromPath[str], data: JSONBody[Decision]
    ) -> ScheduleDetail:
        """What would have been due meanwhile is not."""
        return await schedules.enable(
            stores, name, enabled=True, by=caller.name, reason=data.reason, moment=now()
        )

    @post("/{name:str}/disable", status_code=200, summary="Switch a schedule off", opt=WRITE)
    async def disable_schedule(
        self, stores: Opened, caller: Calling, name: FromPath[str], data: JSONBody[Decision]
    ) -> ScheduleDetail:
        """It can still be fired by hand."""
        return await schedules.enable(
            stores, name, enabled=False, by=caller.name, reason=data.reason, moment=now()
        )

    @delete("/{name:str}", summary="Remove a schedule of mail", opt=WRITE)
    async def delete_schedule(
        self, stores: Opened, caller: Calling, name: FromPath[str], reason: Why
    ) -> None:
        """Its mails stay. 409 for one that is declared in code."""
        await schedules.delete(stores, name, by=caller.name, reason=reason)

    @post(
        "/{name:str}/trigger",
        status_code=202,
        summary="Fire a schedule now",
        opt=WRITE,
        operation_class=Keyed,
        before_request=refuse_unkeyed,
    )
    async def trigger_schedule(
        self, stores: Opened, caller: Calling, request: Request[Any, Any, Any], name: FromPath[str]
    ) -> Response[Triggered]:
        """Any of them, on or off. The tick is a row of its own; the scheduler sends it within two seconds.

        What the schedule has sent before is not sent again. A call that is repeated under its `Idempotency-Key` is answered as before.
        """
        call = call_of(caller.client, key_of(request), ["trigger", name])
        once = await schedules.trigger(stores, name, call, by=caller.name, moment=now())
        headers = {"Location": f"{SCHEDULES}/{name}"} | replayed(replay=once.replayed)
        return Response(once.answer, status_code=202, headers=headers)

    @post("/{name:str}/dry-run", status_code=200, summary="Tell who would get what", opt=WRITE)
    async def try_schedule(
        self, stores: Opened, caller: Calling, name: FromPath[str], data: JSONBody[Trial] = _TRIAL
    ) -> DryRun:
        """As if it were fired now. Nothing is sent; that somebody looked is a fact in the audit."""
        return await trying.dry_run(stores, name, by=caller.name, moment=now(), limit=data.limit)
