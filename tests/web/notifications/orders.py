"""Orders of mail, as services post them."""

from typing import Any
from uuid import uuid4

import httpx

ALL = "/v1/notifications"
BOOKING = {
    "customer": {"first_name": "Ada"},
    "booking": {"reference": "AB-7K2Q9", "seats": 2},
    "launch": {
        "destination": "Moon",
        "date": "2027-03-14T15:30:00Z",
        "rocket": "Selene Heavy",
        "spaceport": "Kourou",
    },
    "link": "https://astrobookings.example/bookings/AB-7K2Q9",
}
LAUNCH = {
    "customer": {"first_name": "Ada"},
    "launch": BOOKING["launch"],
    "price": {"amount": "125000.00", "currency": "EUR"},
    "available_seats": 18,
    "link": "https://astrobookings.example/launches/selene-14",
}


def order(**changes: Any) -> dict[str, Any]:
    """Mail about a booking to one address."""
    wanted = {
        "template": "booking-confirmation",
        "recipients": [{"email": "ada@example.com"}],
        "data": BOOKING,
    }
    return wanted | changes


async def send(
    caller: httpx.AsyncClient, wanted: dict[str, Any] | None = None, *, key: str | None = None
) -> httpx.Response:
    """Post an order, under a key of its own unless one is given."""
    headers = {"Idempotency-Key": key or str(uuid4())}
    return await caller.post(ALL, json=order() if wanted is None else wanted, headers=headers)


async def sent(caller: httpx.AsyncClient, **changes: Any) -> str:
    """The id of the first mail of an order that is taken."""
    answer = await send(caller, order(**changes))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["notifications"][0])
