"""The audit store over HTTP: what was done, by whom, and why. Whoever reads it is recorded in it."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from litestar import Controller, get
from litestar.params import FromPath, FromQuery, QueryParameter

from app.accounts.permissions import Scope
from app.audit import reading
from app.audit.entries import Fact, Kind
from app.audit.queries import EntryFilter
from app.audit.views import EntryPage, EntryView
from app.clock import now
from app.errors import Fault, InvalidInputError
from app.moments import SAID, moment
from app.pages import LIMIT_DEFAULT
from app.reconciliation.mapping import mappings
from web.guards import Calling, needs
from web.inputs import Cursor, Limit, RecordId
from web.stores import Opened

Moment = Annotated[str | None, QueryParameter(description=f"when it happened: {SAID}")]


class Audit(Controller):
    """The append-only record of every change and of everything that operators do."""

    path = "/audit"
    tags = ("audit",)
    opt = needs(Scope.AUDIT_READ)

    @get(summary="List audit entries, the latest first")
    async def list_entries(
        self,
        *,
        stores: Opened,
        caller: Calling,
        kind: FromQuery[Kind | None] = None,
        name: FromQuery[Fact | None] = None,
        actor: FromQuery[str | None] = None,
        run_id: FromQuery[UUID | None] = None,
        entity: FromQuery[str | None] = None,
        id: RecordId = None,  # noqa: A002
        since: Moment = None,
        until: Moment = None,
        order: FromQuery[Literal["newest", "oldest"]] = "newest",
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> EntryPage:
        """The order is that in which they were recorded. `until` is without its end.

        `complete` is false where the page ended before it was full, for its filters seldom hold: `next_cursor` goes on.
        """
        instants = _moments({"since": since, "until": until})
        wanted = EntryFilter(
            kind=kind,
            name=name,
            actor=actor,
            run_id=run_id,
            entity=entity,
            key=_key(entity, id),
            since=instants["since"],
            until=instants["until"],
        )
        return await reading.list_entries(
            stores, wanted, by=caller.name, newest_first=order == "newest", limit=limit, cursor=cursor
        )

    @get("/{sequence:int}", summary="Show an audit entry")
    async def get_entry(self, stores: Opened, caller: Calling, sequence: FromPath[int]) -> EntryView:
        return await reading.get_entry(stores, sequence, by=caller.name)


def _moments(given: dict[str, str | None]) -> dict[str, datetime | None]:
    instant, found, faults = now(), dict[str, datetime | None](), list[Fault]()
    for name, text in given.items():
        try:
            found[name] = None if text is None else moment(text, instant)
        except ValueError:
            faults.append(Fault(name, SAID))
    if faults:
        raise InvalidInputError("no moments of time", faults)
    return found


def _key(entity: str | None, key: str | None) -> str | None:
    """The key as entries have it. An entity that is mapped no longer has entries all the same."""
    if key is not None and entity is None:
        raise InvalidInputError("an id without its entity", [Fault("entity", "is needed with id")])
    mapping = mappings().get(entity or "")
    return mapping.normal_key(key) if mapping and key is not None else key
