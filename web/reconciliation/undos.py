"""Undo over HTTP."""

from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from actors import reconciliation as actors
from app.accounts.permissions import Scope
from app.pages import LIMIT_DEFAULT, Page
from app.reconciliation.deciding import undo
from app.reconciliation.ledger.views import UndoItemView, UndoPreview, UndoView
from web.guards import Calling, needs
from web.inputs import Cursor, Limit, UndoChoice, UndoItemStatus, UndoOrder
from web.stores import Opened
from web.waking import wake

UNDOS = "/v1/reconciliation/undos"


class Undos(Controller):
    """Changes that are taken back."""

    path = "/reconciliation/undos"
    tags = ("undos",)
    opt = needs(Scope.RECONCILIATION_READ)

    @post(
        status_code=202,
        summary="Undo changes, or all changes of a run",
        opt=needs(Scope.RECONCILIATION_OPERATE),
    )
    async def start_undo(
        self, stores: Opened, caller: Calling, data: JSONBody[UndoOrder]
    ) -> Response[UndoView]:
        """Holds every record concerned before the first is written; `items` tells what could not be undone and why.

        A record that was removed comes back with the fields that its mapping names, and no others.
        """
        started = await undo.start(
            stores, change_ids=data.change_ids, run_id=data.run_id, by=caller.name, reason=data.reason
        )
        await wake(actors.wake_undo, started.id)
        return Response(started, status_code=202, headers={"Location": f"{UNDOS}/{started.id}"})

    @post(
        "/preview",
        status_code=200,
        summary="Tell what an undo would take back",
        opt=needs(Scope.RECONCILIATION_OPERATE),
    )
    async def preview_undo(self, stores: Opened, data: JSONBody[UndoChoice]) -> UndoPreview:
        return await undo.preview(stores, change_ids=data.change_ids, run_id=data.run_id)

    @get(summary="List undos, the latest first")
    async def list_undos(
        self, *, stores: Opened, limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[UndoView]:
        return await undo.list_undos(stores, limit=limit, cursor=cursor)

    @get("/{undo_id:uuid}", summary="Show an undo and how far it is")
    async def get_undo(self, stores: Opened, undo_id: FromPath[UUID]) -> UndoView:
        return await undo.get_undo(stores, undo_id)

    @get("/{undo_id:uuid}/items", summary="List the changes of an undo, the latest first")
    async def list_undo_items(
        self,
        *,
        stores: Opened,
        undo_id: FromPath[UUID],
        status: FromQuery[UndoItemStatus | None] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[UndoItemView]:
        return await undo.list_items(stores, undo_id, status=status, limit=limit, cursor=cursor)
