"""Change events: another service says that a record changed on its side. An event only makes the record suspect."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from app.errors import Fault, InvalidInputError, NotFoundError
from app.reconciliation.ledger.suspects import nominate
from app.reconciliation.mapping import mapping_of
from app.stores.connections import Stores

MOST = 1000


class Event(Struct, frozen=True):
    """A record that changed; `occurred_at` is for the reader of logs, order and repetition do not matter."""

    entity: str
    id: str
    occurred_at: datetime | None = None


async def accept(stores: Stores, events: Sequence[Event]) -> int:
    """Make the records of 1 to 1,000 events suspects, all or none; answers how many events were taken.

    Raises InvalidInputError naming every event that is malformed.
    """
    if not 1 <= len(events) <= MOST:
        raise InvalidInputError("bad number of events", [Fault("events", f"takes 1 to {MOST} events")])
    faults: list[Fault] = []
    keys: dict[str, set[str]] = {}
    for at, event in enumerate(events):
        try:
            keys.setdefault(event.entity, set()).add(mapping_of(event.entity).normal_key(event.id))
        except NotFoundError as error:
            faults.append(Fault(f"events/{at}/entity", str(error)))
        except InvalidInputError as error:
            faults.append(Fault(f"events/{at}/id", str(error)))
    if faults:
        raise InvalidInputError(f"{len(faults)} of {len(events)} events are malformed", faults)
    async with stores.core.acquire() as connection, connection.transaction():
        for entity in sorted(keys):
            await nominate(connection, entity, keys[entity], cause="event")
    return len(events)
