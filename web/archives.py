"""Archives of the audit store over HTTP."""

from datetime import datetime, timedelta
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.params import FromPath, JSONBody

from actors import audit as actors
from app.accounts.permissions import Scope
from app.audit.archiving import orders
from app.audit.archiving.views import ArchiveView, Order, Plan
from app.clock import now
from app.errors import Fault, InvalidInputError
from app.moments import SAID, moment
from app.pages import LIMIT_DEFAULT, Page
from app.stores.connections import Stores
from web.guards import Calling, needs
from web.inputs import ArchiveChoice, ArchiveOrder, Cursor, Limit
from web.stores import Opened
from web.waking import wake

ORDERS = "/v1/audit/archives/orders"


class Archives(Controller):
    """Files that the oldest entries of the audit store have moved to."""

    path = "/audit/archives"
    tags = ("audit",)
    opt = needs(Scope.AUDIT_READ)

    @get(summary="List archives, the latest first")
    async def list_archives(
        self, stores: Opened, limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[ArchiveView]:
        return await orders.list_archives(stores, limit=limit, cursor=cursor)

    @post(
        status_code=202,
        summary="Archive what was sealed before an instant, now",
        opt=needs(Scope.QUEUES_OPERATE),
    )
    async def order_archives(
        self, stores: Opened, caller: Calling, data: JSONBody[ArchiveOrder]
    ) -> Response[Order]:
        """A worker does it, within the hour at the latest; the order at `Location` says how it went.

        What was sealed within the last hour stays, and so does what a change or a fact still needs.
        """
        made = await orders.order(stores, _before(stores, data.before), by=caller.name, reason=data.reason)
        await wake(actors.archive_entries.send)
        return Response(made, status_code=202, headers={"Location": f"{ORDERS}/{made.id}"})

    @post("/preview", status_code=200, summary="Tell what an order would have archived now")
    async def preview_archives(self, stores: Opened, data: JSONBody[ArchiveChoice]) -> Plan:
        return await orders.plan(stores, _before(stores, data.before))

    @get("/orders/{order_id:uuid}", summary="Show an order")
    async def get_archive_order(self, stores: Opened, order_id: FromPath[UUID]) -> Order:
        return await orders.get_order(stores, order_id)


def _before(stores: Stores, given: str | None) -> datetime:
    if given is None:
        return now() - timedelta(days=stores.settings.audit_days)
    try:
        return moment(given, now())
    except ValueError as error:
        raise InvalidInputError("no moment of time", [Fault("before", SAID)]) from error
