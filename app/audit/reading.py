"""What people read of the audit, each read recorded before it is answered."""

from functools import partial

from app.audit import queries
from app.audit.entries import Fact
from app.audit.queries import EntryFilter
from app.audit.reads import record_read, recorded
from app.audit.store import END, AuditStore
from app.audit.views import EntryPage, EntryView, view
from app.stores.connections import Stores


async def list_entries(
    stores: Stores,
    wanted: EntryFilter,
    *,
    by: str,
    newest_first: bool = True,
    limit: int = 50,
    cursor: str | None = None,
) -> EntryPage:
    """A page of entries, see `app.audit.queries.list_entries`; raises StoreUnavailableError when the store is away."""
    audit = _audit(stores)
    found = await queries.list_entries(audit, wanted, newest_first=newest_first, limit=limit, cursor=cursor)
    filters = {name: getattr(wanted, name) for name in wanted.__struct_fields__}
    await record_read(audit, Fact.AUDIT_READ, by=by, filters=filters)
    return EntryPage([view(each) for each in found.items], found.next_cursor, found.complete)


async def get_entry(stores: Stores, sequence: int, *, by: str) -> EntryView:
    """One entry; raises NotFoundError where there is none with that number."""
    audit = _audit(stores)
    # A number of any length may be asked for; an entry keeps those that JSON readers agree on.
    filters = {"sequence": sequence if sequence < END else str(sequence)}
    return await recorded(
        _entry(audit, sequence), partial(record_read, audit, Fact.AUDIT_READ, by=by, filters=filters)
    )


async def _entry(audit: AuditStore, sequence: int) -> EntryView:
    return view(await queries.get_entry(audit, sequence))


def _audit(stores: Stores) -> AuditStore:
    return AuditStore.of(stores)
