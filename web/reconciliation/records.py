"""Records over HTTP: events in, changes and histories out."""

from uuid import UUID

from litestar import Controller, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from actors import reconciliation as actors
from app.pages import LIMIT_DEFAULT, Page
from app.reconciliation import events, history
from app.reconciliation.views import ChangeView, RecordView
from web.inputs import Accepted, Cursor, Events, Limit
from web.stores import Opened
from web.waking import wake


class Records(Controller):
    """What happened to records, told by the other services or done by this one."""

    path = "/reconciliation"
    tags = ("records",)

    @post("/events", status_code=202, summary="Tell that records changed")
    async def accept_events(self, stores: Opened, data: JSONBody[Events]) -> Accepted:
        """Takes all of them or, where one is malformed, none."""
        accepted = await events.accept(stores, data.events)
        await wake(actors.wake_repairs)
        return Accepted(accepted)

    @get("/changes", summary="List changes made to either side, the latest first")
    async def list_changes(
        self,
        *,
        stores: Opened,
        entity: FromQuery[str | None] = None,
        key: FromQuery[str | None] = None,
        run_id: FromQuery[UUID | None] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[ChangeView]:
        return await history.list_changes(
            stores, entity=entity, key=key, run_id=run_id, limit=limit, cursor=cursor
        )

    @get("/records/{entity:str}/{key:str}", summary="Show a record on both sides, and its whole past")
    async def get_record(self, stores: Opened, entity: FromPath[str], key: FromPath[str]) -> RecordView:
        return await history.record(stores, entity, key)
