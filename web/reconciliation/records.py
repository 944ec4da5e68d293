"""Records over HTTP: events in, changes and histories out."""

from typing import Any
from urllib.parse import unquote
from uuid import UUID

from litestar import Controller, Request, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from actors import reconciliation as actors
from app.accounts.permissions import Scope
from app.pages import LIMIT_DEFAULT, Page
from app.reconciliation.deciding import history
from app.reconciliation.ledger.views import ChangeView, RecordView
from app.reconciliation.running import events
from web.guards import Calling, needs
from web.inputs import Accepted, Cursor, Events, Limit, RecordId
from web.stores import Opened
from web.waking import wake


class Records(Controller):
    """What happened to records, told by the other services or done by this one."""

    path = "/reconciliation"
    tags = ("records",)
    opt = needs(Scope.RECONCILIATION_READ)

    @post(
        "/events", status_code=202, summary="Tell that records changed", opt=needs(Scope.RECONCILIATION_EVENT)
    )
    async def accept_events(self, stores: Opened, data: JSONBody[Events]) -> Accepted:
        """Takes all of them or, where one is malformed, none."""
        accepted = await events.accept(stores, data.events)
        await wake(actors.wake_repairs_later, events.settle_seconds(stores))
        return Accepted(accepted)

    @get("/changes", summary="List changes made to either side, the latest first")
    async def list_changes(
        self,
        *,
        stores: Opened,
        caller: Calling,
        entity: FromQuery[str | None] = None,
        id: RecordId = None,  # noqa: A002
        run_id: FromQuery[UUID | None] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[ChangeView]:
        """Whoever reads is recorded in the audit."""
        return await history.read_changes(
            stores, by=caller.name, entity=entity, key=id, run_id=run_id, limit=limit, cursor=cursor
        )

    @get("/records/{entity:str}/{id:path}", summary="Show a record on both sides, and its whole past")
    async def get_record(
        self,
        stores: Opened,
        caller: Calling,
        request: Request[Any, Any, Any],
        entity: FromPath[str],
        id: FromPath[str],  # noqa: A002
    ) -> RecordView:
        """The id may hold slashes, quoted or not. `more_diffs` and `more_changes` are cursors of what is older.

        Whoever reads is recorded in the audit.
        """
        return await history.read_record(stores, entity, _id(request) or id, by=caller.name)


def _id(request: Request[Any, Any, Any]) -> str:
    """The id as it was sent: of a path, routing drops slashes that stand together or at its end."""
    sent: str = request.scope["raw_path"].decode().split("/records/", 1)[1]
    return unquote(sent.partition("/")[2])
