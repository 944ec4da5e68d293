"""Reading the logs over HTTP: in pages, as a stream, as a file."""

from functools import partial
from typing import Annotated, Any, Literal

from litestar import Controller, Request, get
from litestar.di import Provide
from litestar.params import FromQuery, QueryParameter
from litestar.response import ServerSentEvent, Stream

from app.accounts.permissions import Scope
from app.clock import now
from app.logs.queries import LogStats
from app.logs.store import LogStore
from app.logs.views import LogList, list_of
from app.pages import LIMIT_DEFAULT
from app.stores.connections import Stores
from web.guards import needs
from web.inputs import Cursor, Limit
from web.logs.exporting import Format, export
from web.logs.filters import AskedAt, Wanted, read_filter, settle_moment
from web.logs.following import last_event_id, messages
from web.standing import while_standing
from web.stores import Opened

Order = Annotated[Literal["newest", "oldest"], QueryParameter(description="which entries come first")]


class Logs(Controller):
    """What every process and every API consumer logged."""

    path = "/logs"
    tags = ("logs",)
    opt = needs(Scope.LOGS_READ)
    dependencies = {  # noqa: RUF012
        "wanted": Provide(read_filter, sync_to_thread=False),
        "asked_at": Provide(now, sync_to_thread=False),
    }

    @get(
        summary="List log entries",
        dependencies={"asked_at": Provide(settle_moment, sync_to_thread=False)},
    )
    async def list_logs(
        self,
        *,
        stores: Opened,
        wanted: Wanted,
        asked_at: AskedAt,
        order: Order = "newest",
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> LogList:
        """In the order of their arrival; entries that arrive meanwhile neither shift nor repeat a page.

        On the pages that a cursor leads to, `since=15m` is still meant from when the first one was asked for.
        """
        page = await _log_store(stores).query(
            wanted, newest_first=order == "newest", cursor=cursor, limit=limit, asked_at=asked_at
        )
        return list_of(page)

    @get(
        "/stream",
        summary="Follow log entries as they arrive, as server-sent events",
        media_type="text/event-stream",
    )
    async def stream_logs(
        self, stores: Opened, wanted: Wanted, request: Request[Any, Any, Any]
    ) -> ServerSentEvent:
        """An entry is a message whose id is its number; `Last-Event-ID` goes on after it, else it begins now.

        An event `missed` tells the numbers, `first` to `last`, that a reader is not shown, and the `reason`: `behind`
        (it was too slow), `trimmed` (they are kept no longer) or `unreadable`. A comment comes every 15 s in which
        nothing else does. It ends within a second of the caller's session, credential or right to read.
        """
        store = _log_store(stores)
        after = last_event_id(request.headers.get("last-event-id"))
        allowed = partial(while_standing, request=request, needed=Scope.LOGS_READ)
        number = await store.last_number() if after is None else after
        return ServerSentEvent(messages(store, wanted, after=number, allowed=allowed))

    @get("/export", summary="Export every log entry that meets the filters, the oldest first")
    async def export_logs(
        self,
        stores: Opened,
        wanted: Wanted,
        request: Request[Any, Any, Any],
        format: FromQuery[Format] = "ndjson",  # noqa: A002
    ) -> Stream:
        """NDJSON or CSV, gzipped where `Accept-Encoding` has gzip.

        An export that cannot be finished, or whose reader's right to it ends meanwhile, says so in its last line, and breaks the connection instead of ending. One that
        lacks what was trimmed meanwhile, or what cannot be read, ends well and says so in its last line.
        """
        accepted = request.headers.get("accept-encoding", "")
        allowed = partial(while_standing, request=request, needed=Scope.LOGS_READ, whole=True)
        batches = _log_store(stores).export(wanted)
        return await export(batches, format=format, accepted=accepted, allowed=allowed)

    @get("/stats", summary="Show how much is kept, what was trimmed and what was lost")
    async def get_stats(self, stores: Opened) -> LogStats:
        return await _log_store(stores).stats()


def _log_store(stores: Stores) -> LogStore:
    return LogStore(stores.logs, stores.settings.namespace)
