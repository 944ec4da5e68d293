"""To whom: addresses that are looked up where they are kept."""

from uuid import uuid4

import pytest

from app.errors import InvalidInputError
from app.notifications.addresses.recipients import Recipient, resolve
from app.stores.connections import Stores


async def customer(stores: Stores, **fields: object):
    key = uuid4()
    await stores.customer["customers"].insert_one({"_id": key, **fields})
    return key


async def supplier(stores: Stores, email: str):
    columns = {"id": uuid4(), "company_name": "Moonshots", "contact_email": email}
    known = {
        each["column_name"]
        for each in await stores.admin.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'suppliers' AND is_nullable = 'NO'"
        )
    }
    filled = {
        name: columns.get(name, "x") for name in known if name not in {"created_at", "updated_at"}
    } | columns
    names, places = ", ".join(filled), ", ".join(f"${place}" for place in range(1, len(filled) + 1))
    await stores.admin.execute(f"INSERT INTO suppliers ({names}) VALUES ({places})", *filled.values())
    return columns["id"]


async def test_everybody_is_found_in_the_order_they_were_named(stores: Stores) -> None:
    ada, moon = await customer(stores, email="Ada@Example.com"), await supplier(stores, "moon@example.com")
    found = await resolve(
        stores, [Recipient(supplier=moon), Recipient(email="b@example.com"), Recipient(customer=ada)]
    )
    assert [(each.kind, each.id, each.address.key) for each in found] == [
        ("supplier", moon, "moon@example.com"),
        ("address", None, "b@example.com"),
        ("customer", ada, "ada@example.com"),
    ]


async def test_everybody_who_cannot_be_written_to_is_named(stores: Stores) -> None:
    without, broken = await customer(stores), await customer(stores, email="nowhere")
    odd = await customer(stores, email=7)
    asked = [Recipient(customer=each) for each in (uuid4(), without, broken, odd)]
    with pytest.raises(InvalidInputError) as refused:
        await resolve(
            stores,
            [*asked, Recipient(supplier=uuid4()), Recipient(email="x"), Recipient(email="a@example.com")],
        )
    assert [each.where for each in refused.value.faults] == [
        "recipients/0/customer",
        "recipients/1/customer",
        "recipients/2/customer",
        "recipients/3/customer",
        "recipients/4/supplier",
        "recipients/5/email",
    ]
