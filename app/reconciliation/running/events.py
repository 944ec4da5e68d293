"""Change events: another service says that a record changed on its side. An event only makes the record suspect."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from app.reconciliation.ledger.spellings import normal
from app.reconciliation.ledger.suspects import nominate_all
from app.stores.connections import Stores


class Event(Struct, frozen=True):
    """A record that changed; `occurred_at` is for the reader of logs, order and repetition do not matter."""

    entity: str
    id: str
    occurred_at: datetime | None = None


async def accept(stores: Stores, events: Sequence[Event]) -> int:
    """Make the records of 1 to 1,000 events suspects, all or none; answers how many events were taken.

    They are due once what the events tell of can have settled (`settle_seconds`): a look before that would be in vain.
    Raises InvalidInputError naming every event that is malformed.
    """
    records = normal([(event.entity, event.id) for event in events], what="events")
    async with stores.core.acquire() as connection, connection.transaction():
        await nominate_all(
            connection, dict.fromkeys(records), cause="event", after_seconds=settle_seconds(stores)
        )
    return len(events)


def settle_seconds(stores: Stores) -> float:
    """How long after its event a record is looked at."""
    return stores.settings.settle_milliseconds / 1000
