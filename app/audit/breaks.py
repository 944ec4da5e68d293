"""Breaks of the chain of seals or of archives: verdicts that operators hear of, and facts."""

from uuid import NAMESPACE_URL, uuid5

from app.audit import verdicts
from app.audit.entries import Fact, FactEntry
from app.audit.sealing.stream import ChainBrokenError
from app.audit.store import AuditStore
from app.clock import now
from app.errors import StoreUnavailableError
from app.stores.connections import Stores

_BREAKS = uuid5(NAMESPACE_URL, "urn:astrocore:audit:break")


async def record_break(stores: Stores, error: ChainBrokenError, fact: Fact, *, by: str) -> bool:
    """Record that a break stops somebody; answers whether the audit store has taken it: one that was tampered with may not.

    `by` is the source of the verdict. The id is made from the day, the fact and the place: a break that is met every minute is recorded once a day.
    """
    await verdicts.say(stores.core, by, error.place, str(error))
    moment = now()
    entry = FactEntry(
        id=uuid5(_BREAKS, f"{moment.date()} {fact} {error.place}"),
        at=moment,
        name=fact,
        actor=by,
        target=error.place,
        reason=str(error),
    )
    try:
        await AuditStore.of(stores).append([entry])
    except StoreUnavailableError:
        return False
    return True
