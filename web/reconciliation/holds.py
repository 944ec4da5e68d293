"""Holds over HTTP."""

from litestar import Controller, get, post
from litestar.params import FromQuery, JSONBody

from actors import reconciliation as actors
from app.accounts.permissions import Scope
from app.pages import LIMIT_DEFAULT, Page
from app.reconciliation.ledger import holds
from app.reconciliation.ledger.views import HoldsPlaced, HoldView
from web.guards import Calling, needs
from web.inputs import Cursor, Holding, Limit, RecordId
from web.stores import Opened
from web.waking import wake


class Holds(Controller):
    """Records that are left alone."""

    path = "/reconciliation/holds"
    tags = ("holds",)
    opt = needs(Scope.RECONCILIATION_READ)

    @get(summary="List holds, the latest first")
    async def list_holds(
        self,
        *,
        stores: Opened,
        entity: FromQuery[str | None] = None,
        id: RecordId = None,  # noqa: A002
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[HoldView]:
        return await holds.list_holds(stores, entity=entity, key=id, limit=limit, cursor=cursor)

    @post(status_code=200, summary="Leave records alone", opt=needs(Scope.RECONCILIATION_OPERATE))
    async def place_holds(self, stores: Opened, caller: Calling, data: JSONBody[Holding]) -> HoldsPlaced:
        """Takes all of them or, where one is malformed, none. What is held already keeps its hold."""
        return await holds.place(stores, _addresses(data), by=caller.name, reason=data.reason)

    @post(
        "/release",
        status_code=200,
        summary="Let records be repaired again",
        opt=needs(Scope.RECONCILIATION_OPERATE),
    )
    async def release_holds(self, stores: Opened, caller: Calling, data: JSONBody[Holding]) -> list[HoldView]:
        """Answers the holds that there were; 409 lists every record that is not held, and none is released."""
        released = await holds.release(stores, _addresses(data), by=caller.name, reason=data.reason)
        await wake(actors.wake_repairs)
        return released


def _addresses(data: Holding) -> list[holds.Address]:
    return [(each.entity, each.id) for each in data.records]
