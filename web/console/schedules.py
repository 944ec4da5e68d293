"""Schedules: when each is due, what came of it, and switching or firing it."""

from typing import Annotated, Any
from uuid import uuid4

from litestar import Controller, Request, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Template
from msgspec import Meta

from app.accounts.permissions import Scope
from app.clock import now
from app.errors import CoreError
from app.idempotency import call_of
from app.notifications.recurring import schedules
from app.stores.connections import Stores
from web.console.forms import Failed, Form, filled
from web.console.pages import SCHEDULES, page, redirect
from web.console.when import when
from web.guards import Calling, needs
from web.inputs import Decision
from web.problems import respond
from web.stores import Opened

WRITE = needs(Scope.SCHEDULES_WRITE)


class Firing(Decision, kw_only=True):
    """Why a schedule is fired now, and a key under which that happens once, however often the form is sent."""

    key: Annotated[str, Meta(pattern=r"^[0-9a-f-]{36}\Z")]


class Schedules(Controller):
    """All schedules, and one."""

    path = "/schedules"
    opt = needs(Scope.NOTIFICATIONS_READ)

    @get()
    async def list_schedules(self, request: Request[Any, Any, Any], stores: Opened) -> Template:
        """Those of mail first."""
        found = await schedules.list_schedules(stores, now())
        ordered = sorted(found, key=lambda each: each.query is None)
        return page(request, "schedules", schedules=ordered, when=when)

    @get("/{name:str}")
    async def show(self, request: Request[Any, Any, Any], stores: Opened, name: FromPath[str]) -> Template:
        return await _page(request, stores, name)

    @post("/{name:str}/enable", opt=WRITE)
    async def enable(
        self,
        request: Request[Any, Any, Any],
        stores: Opened,
        caller: Calling,
        name: FromPath[str],
        form: Form,
    ) -> Template | Redirect:
        """What would have been due meanwhile is not."""
        return await _switch(request, stores, name, form, by=caller.name, on=True)

    @post("/{name:str}/disable", opt=WRITE)
    async def disable(
        self,
        request: Request[Any, Any, Any],
        stores: Opened,
        caller: Calling,
        name: FromPath[str],
        form: Form,
    ) -> Template | Redirect:
        """It can still be fired."""
        return await _switch(request, stores, name, form, by=caller.name, on=False)

    @post("/{name:str}/trigger", opt=WRITE)
    async def trigger(
        self,
        request: Request[Any, Any, Any],
        stores: Opened,
        caller: Calling,
        name: FromPath[str],
        form: Form,
    ) -> Template | Redirect:
        """Be it on or off."""
        try:
            given = filled(Firing, form)
            call = call_of(caller.name, given.key, ["trigger", name])
            await schedules.trigger(stores, name, call, by=caller.name, moment=now(), reason=given.reason)
        except CoreError as error:
            return await _page(request, stores, name, Failed("trigger", form, error))
        return redirect(request, f"{SCHEDULES}/{name}?done=triggered")


async def _switch(
    request: Request[Any, Any, Any], stores: Stores, name: str, form: dict[str, str], *, by: str, on: bool
) -> Template | Redirect:
    try:
        reason = filled(Decision, form).reason
        await schedules.enable(stores, name, enabled=on, by=by, reason=reason, moment=now())
    except CoreError as error:
        return await _page(request, stores, name, Failed("enable" if on else "disable", form, error))
    return redirect(request, f"{SCHEDULES}/{name}?done={'enabled' if on else 'disabled'}")


async def _page(
    request: Request[Any, Any, Any], stores: Stores, name: str, failed: Failed | None = None
) -> Template:
    detail = await schedules.get_schedule(stores, name, now())
    return page(
        request,
        "schedule",
        error=respond(request, failed.error) if failed else None,
        schedule=detail.schedule,
        next_ticks=detail.next_ticks,
        last_ticks=detail.last_ticks,
        when=when,
        key=str(uuid4()),
        failed=failed.form if failed else None,
        typed=failed.typed if failed else {},
    )
