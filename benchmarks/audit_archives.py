"""What the audit benchmark fills the store with, sealed and moved to archives: all but the newest seal."""

from datetime import timedelta
from time import perf_counter

from app.audit.archiving.archiver import Archiver
from app.audit.archiving.due import find_due
from app.audit.archiving.trimming import Trimmer
from app.audit.sealing.keys import Keyring
from app.audit.sealing.sealer import Sealer
from app.audit.sealing.stream import Stream
from app.audit.store import AuditStore
from app.clock import now
from app.stores.connections import Stores, open_redis
from benchmarks.figure import Figure

_LATER = timedelta(days=1)


async def move_all(stores: Stores) -> Figure:
    """Seal what there is and archive it, as if it were a day later; answers entries a second of the second."""
    settings, stream = stores.settings, Stream.of(stores.audit, stores.settings.namespace)
    keys = Keyring.of(settings)
    assert keys is not None
    while await Sealer(stores.core, stream, keys).seal_new():
        pass
    hot = AuditStore(stores.audit, settings.namespace)
    moved, archives, started = 0, 0, perf_counter()
    async with open_redis(settings.url("audit_retention_url")) as redis:
        trimmer = Trimmer.of(redis, settings.namespace)
        archiver = Archiver(stores.core, stream, trimmer, settings.archive_dir, keys)
        while (due := await find_due(stores.core, hot, now() + _LATER, now() + _LATER)).entries > 0:
            moved, archives = moved + await archiver.archive(due, by="benchmark"), archives + 1
    pace = moved / (perf_counter() - started)
    return Figure(f"audit: entries moved to {archives} archives", pace, "entries/s")
