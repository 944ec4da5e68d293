"""Mail: what was asked for, why each one went or did not, and what an operator may do about it."""

from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Template
from msgspec import Meta, Struct

from actors import notifications as actors
from app.accounts.addresses import address
from app.accounts.admission import Caller
from app.accounts.permissions import Scope
from app.clock import now
from app.errors import CoreError, InvalidInputError, NotFoundError
from app.notifications.asking import deciding
from app.notifications.asking.instants import instant
from app.notifications.ledger import queries, telling
from app.notifications.ledger.queries import Filters
from app.notifications.ledger.states import OPEN, RETRYABLE, WAYS, State
from app.notifications.ledger.views import NotificationView, StoryView
from app.notifications.recurring import schedules
from app.notifications.templates import catalogue
from app.notifications.templates.content import Kind
from app.pages import Page
from app.stores.connections import Stores
from web.console.forms import Failed, Form, filled
from web.console.framing import framed
from web.console.pages import NOTIFICATIONS, page, redirect
from web.guards import Calling, needs
from web.inputs import Decision
from web.notifications.inputs import Email, Name, NewTime, Resolution
from web.notifications.reach import limited_to, may_decide, may_retry, retry_one
from web.problems import respond
from web.stores import Opened
from web.waking import wake

SEND, OPERATE = needs(Scope.NOTIFICATIONS_SEND), needs(Scope.QUEUES_OPERATE)


class Search(Struct):
    """What is looked for; all of it where nothing is said."""

    state: State | None = None
    template: Name | None = None
    email: Email | None = None
    schedule: Name | None = None
    batch: UUID | None = None
    recipient: UUID | None = None
    cursor: Annotated[str, Meta(max_length=200)] | None = None

    def filters(self) -> Filters:
        """Raises InvalidInputError where the address is none."""
        key = address(self.email).key if self.email else None
        return Filters(self.state, self.template, key, self.recipient, self.batch, self.schedule)


class Notifications(Controller):
    """All mails, and one."""

    path = "/notifications"
    opt = needs(Scope.NOTIFICATIONS_READ)

    @get()
    async def list_notifications(self, request: Request[Any, Any, Any], stores: Opened) -> Template:
        """The newest first."""
        try:
            asked = filled(Search, request.query_params)
            found = await queries.list_notifications(stores, asked.filters(), cursor=asked.cursor)
        except InvalidInputError as error:
            return await _list(request, stores, Page([]), error)
        return await _list(request, stores, found)

    @get("/{notification_id:uuid}")
    async def show(
        self,
        request: Request[Any, Any, Any],
        stores: Opened,
        caller: Calling,
        notification_id: FromPath[UUID],
    ) -> Template:
        """Why this mail went, or did not."""
        return await _page(request, stores, caller, notification_id)

    @get("/{notification_id:uuid}/html")
    async def show_html(
        self, request: Request[Any, Any, Any], stores: Opened, notification_id: FromPath[UUID]
    ) -> Response[str]:
        """For a frame of the page above."""
        story = await queries.get_story(stores, notification_id)
        if story.body is None:
            raise NotFoundError("what this mail says is not there")
        return framed(request, story.body.html)

    @post("/{notification_id:uuid}/cancel", opt=SEND)
    async def cancel(
        self,
        request: Request[Any, Any, Any],
        stores: Opened,
        caller: Calling,
        notification_id: FromPath[UUID],
        form: Form,
    ) -> Template | Redirect:
        try:
            reason = filled(Decision, form).reason
            await deciding.cancel(
                stores,
                notification_id,
                by=caller.name,
                client=limited_to(caller),
                reason=reason,
                moment=now(),
            )
        except CoreError as error:
            return await _page(request, stores, caller, notification_id, Failed("cancel", form, error))
        return redirect(request, f"{NOTIFICATIONS}/{notification_id}?done=cancelled")

    @post("/{notification_id:uuid}/reschedule", opt=SEND)
    async def reschedule(
        self,
        request: Request[Any, Any, Any],
        stores: Opened,
        caller: Calling,
        notification_id: FromPath[UUID],
        form: Form,
    ) -> Template | Redirect:
        try:
            send_at = instant(filled(NewTime, form).send_at, where="send_at")
            await deciding.reschedule(
                stores,
                notification_id,
                send_at=send_at,
                by=caller.name,
                client=limited_to(caller),
                moment=now(),
            )
        except CoreError as error:
            return await _page(request, stores, caller, notification_id, Failed("reschedule", form, error))
        await wake(actors.wake_delivery)
        return redirect(request, f"{NOTIFICATIONS}/{notification_id}?done=rescheduled")

    @post("/{notification_id:uuid}/retry", opt=SEND)
    async def retry(
        self,
        request: Request[Any, Any, Any],
        stores: Opened,
        caller: Calling,
        notification_id: FromPath[UUID],
        form: Form,
    ) -> Template | Redirect:
        """As another mail, to whose page it leads."""
        try:
            made = await retry_one(
                stores, notification_id, caller=caller, reason=filled(Decision, form).reason
            )
        except CoreError as error:
            return await _page(request, stores, caller, notification_id, Failed("retry", form, error))
        return redirect(request, f"{NOTIFICATIONS}/{made.id}?done=retried")

    @post("/{notification_id:uuid}/resolve", opt=OPERATE)
    async def resolve(
        self,
        request: Request[Any, Any, Any],
        stores: Opened,
        caller: Calling,
        notification_id: FromPath[UUID],
        form: Form,
    ) -> Template | Redirect:
        """Whether a mail was sent of which nobody knows."""
        try:
            given = filled(Resolution, form)
            sent = given.state == "sent"
            await deciding.resolve(
                stores, notification_id, sent=sent, by=caller.name, reason=given.reason, moment=now()
            )
        except CoreError as error:
            return await _page(request, stores, caller, notification_id, Failed("resolve", form, error))
        return redirect(request, f"{NOTIFICATIONS}/{notification_id}?done=resolved")


async def _list(
    request: Request[Any, Any, Any],
    stores: Stores,
    found: Page[NotificationView],
    error: CoreError | None = None,
) -> Template:
    given = {name: value for name in Search.__struct_fields__ if (value := request.query_params.get(name))}
    more = {**given, "cursor": found.next_cursor}
    return page(
        request,
        "notifications",
        error=respond(request, error) if error else None,
        mails=found.items,
        given=given,
        more=f"{NOTIFICATIONS}?{urlencode(more)}" if found.next_cursor else None,
        states=list(State),
        templates=[each.name for each in await catalogue.list_templates(stores)],
        schedules=[each.name for each in await schedules.list_schedules(stores, now()) if each.query],
    )


async def _page(
    request: Request[Any, Any, Any],
    stores: Stores,
    caller: Caller,
    notification: UUID,
    failed: Failed | None = None,
) -> Template:
    story = await queries.get_story(stores, notification)
    mail = story.notification
    return page(
        request,
        "notification",
        error=respond(request, failed.error) if failed else None,
        framing=True,
        story=story,
        mail=mail,
        why=telling.why(story),
        lines=telling.happened(story),
        blocked=story.suppressed_by if mail.state not in OPEN else None,
        data=msgspec.json.format(msgspec.json.encode(story.data)).decode() if story.data else None,
        secret_kind=mail.kind == Kind.SECURITY,
        actions=list(_actions(caller, story)),
        failed=failed.form if failed else None,
        typed=failed.typed if failed else {},
    )


def _actions(caller: Caller, story: StoryView) -> Iterator[str]:
    """What the caller may do about the mail in the state that it is in."""
    state = story.notification.state
    if Scope.NOTIFICATIONS_SEND in caller.scopes and may_decide(caller, story):
        if State.CANCELLED in WAYS[state]:
            yield "cancel"
        if state in (State.SCHEDULED, State.PENDING):
            yield "reschedule"
        again = story.retried_as is None and story.body_erased_at is None
        if state in RETRYABLE and again and may_retry(caller, state):
            yield "retry"
    if state is State.UNKNOWN and Scope.QUEUES_OPERATE in caller.scopes:
        yield "resolve"
