"""What a query is asked and what it answers.

A mail is due at an instant that its record tells (a week before lift-off, say), and goes on the first tick after it. With the
instant and the record a mail is one that went or did not, whichever tick looked: no tick, late, repeated or fired by hand,
sends it again, and a record whose date has moved is another matter.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from app.notifications.ledger.views import RecipientKind
from app.stores.connections import Stores
from config.settings import Settings

MOST_NAME = 100
"""Characters of a name in a mail, as the shipped templates have them."""


class Tick(Struct, frozen=True):
    """What a query is asked about: the tick, the last one before it that was seen through, and the moment it is asked."""

    at: datetime
    last: datetime
    moment: datetime
    zone: ZoneInfo


class Draft(Struct, frozen=True):
    """A mail to somebody. `due` and `name` are its occasion; nothing of it is checked yet."""

    kind: RecipientKind
    id: UUID
    email: Any
    due: datetime
    name: str
    data: dict[str, Any]


class Portion(Struct, frozen=True):
    """Some of the mails of a tick, none of which goes after `not_after`; or mails that are to be tried once more."""

    drafts: Sequence[Draft] = ()
    not_after: datetime | None = None
    retries: Sequence[UUID] = ()


class Telling(Struct, frozen=True):
    """How amounts are told, and where links lead."""

    currency: str
    customers: str
    suppliers: str

    @classmethod
    def of(cls, stores: Stores) -> "Telling":
        chosen: Settings = stores.settings
        issuer = chosen.issuer_url
        return cls(
            chosen.currency,
            (chosen.customer_site_url or issuer).rstrip("/"),
            (chosen.supplier_site_url or issuer).rstrip("/"),
        )

    def money(self, amount: object) -> dict[str, str]:
        return {"amount": str(amount), "currency": self.currency}


def launch_data(row: Any) -> dict[str, str]:
    """A launch as templates have it, of a row with the columns of LAUNCH."""
    return {
        "destination": row["destination"],
        "date": msgspec.to_builtins(row["launch_date"]),
        "rocket": row["rocket"][:MOST_NAME],
        "spaceport": f"{row['spaceport']}, {row['location']}"[:MOST_NAME],
    }


LAUNCH = """
    launches.id AS launch_id, launches.destination, launches.launch_date, rockets.name AS rocket,
    spaceports.name AS spaceport, spaceports.location
"""
LAUNCHES = """
    launches JOIN rockets ON rockets.id = launches.rocket_id JOIN spaceports ON spaceports.id = launches.spaceport_id
"""
