"""Asking for mail over HTTP, and what became of it."""

from typing import Any
from uuid import UUID

from litestar import Controller, Request, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from actors import notifications as actors
from app.accounts.addresses import address
from app.accounts.permissions import Scope
from app.clock import now
from app.idempotency import call_of
from app.notifications.asking import deciding, ordering
from app.notifications.asking.deciding import Retried
from app.notifications.asking.instants import instant
from app.notifications.asking.ordering import Wanted
from app.notifications.ledger import batches, queries
from app.notifications.ledger.batches import BatchView
from app.notifications.ledger.queries import Filters
from app.notifications.ledger.states import State
from app.notifications.ledger.views import (
    CircuitView,
    NotificationView,
    Placed,
    Preview,
    RetriesView,
    StoryView,
)
from app.pages import LIMIT_DEFAULT, Page
from web.accounts.inputs import Held
from web.guards import Calling, needs
from web.idempotency import Keyed, key_of, refuse_unkeyed, replayed
from web.inputs import Cancellation, Cursor, Decision, Limit
from web.notifications.inputs import WITHOUT_REASON, Address, NewTime, Resolution, RetryOrder
from web.notifications.reach import limited_to, retry_one, shown_to
from web.stores import Opened
from web.waking import wake

NOTIFICATIONS = "/v1/notifications"
SEND, OPERATE = needs(Scope.NOTIFICATIONS_SEND), needs(Scope.QUEUES_OPERATE)


class Notifications(Controller):
    """Mails: each is one notification to one recipient."""

    path = "/notifications"
    tags = ("notifications",)
    opt = needs(Scope.NOTIFICATIONS_READ)

    @post(
        status_code=202,
        summary="Have mail sent",
        opt=SEND,
        operation_class=Keyed,
        before_request=refuse_unkeyed,
    )
    async def send_notifications(
        self,
        *,
        stores: Opened,
        accounts: Held,
        caller: Calling,
        request: Request[Any, Any, Any],
        data: JSONBody[Wanted],
    ) -> Response[Placed]:
        """All recipients get it, or none: 422 lists every fault, 409 tells of a disabled template or the same call in flight.

        A call that is repeated within a day under its `Idempotency-Key` is answered as before, with `Idempotency-Replayed: true`;
        another call under that key is refused. Nothing here waits for the provider.
        """
        call = call_of(caller.client, key_of(request), data)
        once = await ordering.place(
            stores, accounts.safe, data, call, by=caller.name, moment=accounts.clock()
        )
        await wake(actors.wake_delivery)
        headers = {"Location": f"{NOTIFICATIONS}/batches/{once.answer.batch}"}
        return Response(once.answer, status_code=202, headers=headers | replayed(replay=once.replayed))

    @post("/preview", status_code=200, summary="Tell what an order would become", opt=SEND)
    async def preview_notifications(self, stores: Opened, caller: Calling, data: JSONBody[Wanted]) -> Preview:
        """Checks all of it and shows the first mail. Nothing is sent or kept, and no Idempotency-Key needed.

        Why an address is blocked is told to whoever has `notifications:read`.
        """
        why = Scope.NOTIFICATIONS_READ in caller.scopes
        return await ordering.preview(stores, data, why_blocked=why, moment=now())

    @get(summary="List notifications, the latest first")
    async def list_notifications(
        self,
        *,
        stores: Opened,
        status: FromQuery[State | None] = None,
        template: FromQuery[str | None] = None,
        email: Address = None,
        recipient: FromQuery[UUID | None] = None,
        batch: FromQuery[UUID | None] = None,
        schedule: FromQuery[str | None] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[NotificationView]:
        """`status` is the `state` that they are in, `recipient` the id of a customer, a supplier or a user.

        `email` is null for mails about accounts.
        """
        key = None if email is None else address(email).key
        filters = Filters(status, template, key, recipient, batch, schedule)
        return await queries.list_notifications(stores, filters, limit=limit, cursor=cursor)

    @get("/transports", summary="Show the ways that mail goes, and whether they are open")
    async def list_transports(self, stores: Opened) -> list[CircuitView]:
        """`open`: the service failed time and again and is left alone until `trial_at`; `trial`: one mail tries it."""
        return await queries.read_circuits(stores.core, _transports(stores))

    @get("/batches/{batch_id:uuid}", summary="Show a batch, and how far its mails are")
    async def get_batch(self, stores: Opened, batch_id: FromPath[UUID]) -> BatchView:
        return await batches.get_batch(stores, batch_id)

    @get("/{notification_id:uuid}", summary="Tell why a mail went, or did not")
    async def get_notification(self, stores: Opened, notification_id: FromPath[UUID]) -> StoryView:
        """What caused it, with what it was filled, each state with its reason, each attempt, what the provider told, and the mail.

        `data` and `body` are null for mails about accounts, which hold secrets, and once they are erased.
        """
        return await queries.get_story(stores, notification_id)

    @post("/{notification_id:uuid}/cancel", status_code=200, summary="Take a mail back", opt=SEND)
    async def cancel_notification(
        self,
        stores: Opened,
        caller: Calling,
        notification_id: FromPath[UUID],
        data: JSONBody[Cancellation] = WITHOUT_REASON,
    ) -> NotificationView:
        """409 once the provider may have it. 403 where another client has asked for it, unless one has `queues:operate`."""
        view = await deciding.cancel(
            stores,
            notification_id,
            by=caller.name,
            client=limited_to(caller),
            reason=data.reason,
            moment=now(),
        )
        return shown_to(caller, view)

    @post(
        "/{notification_id:uuid}/reschedule", status_code=200, summary="Send a mail at another time", opt=SEND
    )
    async def reschedule_notification(
        self, stores: Opened, caller: Calling, notification_id: FromPath[UUID], data: JSONBody[NewTime]
    ) -> NotificationView:
        """A time that is over is now. 409 once it is being handed over; 403 as for `cancel`."""
        send_at = instant(data.send_at, where="send_at")
        view = await deciding.reschedule(
            stores,
            notification_id,
            send_at=send_at,
            by=caller.name,
            client=limited_to(caller),
            moment=now(),
        )
        await wake(actors.wake_delivery)
        return shown_to(caller, view)

    @post("/{notification_id:uuid}/retry", status_code=201, summary="Send a mail again", opt=SEND)
    async def retry_notification(
        self, stores: Opened, caller: Calling, notification_id: FromPath[UUID], data: JSONBody[Decision]
    ) -> Response[NotificationView]:
        """As a notification of its own; the old one stays what it is. Of one that is `unknown` that is an operator's to decide.

        403 as for `cancel`.
        """
        made = await retry_one(stores, notification_id, caller=caller, reason=data.reason)
        made = shown_to(caller, made)
        return Response(made, status_code=201, headers={"Location": f"{NOTIFICATIONS}/{made.id}"})

    @post("/retry", status_code=200, summary="Send many mails again", opt=OPERATE)
    async def retry_notifications(
        self, stores: Opened, caller: Calling, data: JSONBody[RetryOrder]
    ) -> RetriesView:
        """The oldest thousand that were not retried before; `refused` tells of each that could not be, and why."""
        filters = Filters(State(data.state), data.template, batch=data.batch)
        found = await deciding.find_failed(stores, filters, moment=now())
        if data.dry_run:
            return RetriesView(found, {}, {})
        tried: Retried = await deciding.retry(stores, found, by=caller.name, reason=data.reason, moment=now())
        await wake(actors.wake_delivery)
        return RetriesView(found, tried.retried, tried.refused)

    @post(
        "/{notification_id:uuid}/resolve",
        status_code=200,
        summary="Say whether a mail was sent of which nobody knows",
        opt=OPERATE,
    )
    async def resolve_notification(
        self, stores: Opened, caller: Calling, notification_id: FromPath[UUID], data: JSONBody[Resolution]
    ) -> NotificationView:
        """409 unless it is `unknown`. One that has failed may be retried."""
        resolved = await deciding.resolve(
            stores,
            notification_id,
            sent=data.state == "sent",
            by=caller.name,
            reason=data.reason,
            moment=now(),
        )
        return shown_to(caller, resolved)


def _transports(stores: Opened) -> list[str]:
    chosen = stores.settings
    places = {"smtp": chosen.notification_smtp_host, "http": chosen.notification_http_url}
    return [name for name, place in places.items() if place]
