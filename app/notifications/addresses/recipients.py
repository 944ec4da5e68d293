"""To whom: an address, or somebody of ours by id, whose address is looked up where it is kept."""

from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct

from app.accounts.addresses import Address, address
from app.errors import Fault, InvalidInputError
from app.notifications.ledger.views import RecipientKind
from app.stores.connections import Stores
from app.stores.customer import CustomerDocument

_NOBODY = "is nobody that we know"
NOWHERE = Address("", "")
"""Of a mail that nobody may have: it is written as any other, and ends where it would be handed over."""


class Recipient(Struct, frozen=True):
    """As it is asked for: exactly one of the three."""

    email: str | None = None
    customer: UUID | None = None
    supplier: UUID | None = None


class Resolved(Struct, frozen=True):
    """With the address that the mail goes to."""

    kind: RecipientKind
    id: UUID | None
    address: Address


async def resolve(stores: Stores, recipients: Sequence[Recipient]) -> list[Resolved]:
    """The recipients in their order, with addresses. Raises InvalidInputError that lists everybody who has none, or is named again.

    The same are the same address, customer or supplier; that two of them read their mail at one address is no fault.

    What the two databases' drivers raise is raised.
    """
    customers = await _customers(stores, [each.customer for each in recipients if each.customer])
    suppliers = await _suppliers(stores, [each.supplier for each in recipients if each.supplier])
    found, faults = [], []
    places: dict[tuple[RecipientKind, UUID | str], int] = {}
    for place, each in enumerate(recipients):
        try:
            found.append(one := _resolved(each, customers, suppliers, f"recipients/{place}"))
        except InvalidInputError as error:
            faults += error.faults
            continue
        if (first := places.setdefault((one.kind, one.id or one.address.key), place)) != place:
            faults.append(Fault(f"recipients/{place}", f"is the same as recipients/{first}"))
    if faults:
        raise InvalidInputError("recipients who cannot be written to", faults)
    return found


def _resolved(
    asked: Recipient, customers: dict[UUID, str], suppliers: dict[UUID, str], where: str
) -> Resolved:
    if asked.customer:
        return Resolved("customer", asked.customer, _known(customers, asked.customer, f"{where}/customer"))
    if asked.supplier:
        return Resolved("supplier", asked.supplier, _known(suppliers, asked.supplier, f"{where}/supplier"))
    return Resolved("address", None, address(asked.email or "", where=f"{where}/email"))


def _known(addresses: dict[UUID, str], somebody: UUID, where: str) -> Address:
    if somebody not in addresses:
        raise InvalidInputError(_NOBODY, [Fault(where, _NOBODY)])
    return address(addresses[somebody], where=where)


async def _customers(stores: Stores, ids: list[UUID]) -> dict[UUID, str]:
    if not ids:
        return {}
    collection = stores.customer[CustomerDocument.Settings.name]
    cursor = collection.find({"_id": {"$in": ids}}, {"email": 1})
    return {row["_id"]: row["email"] async for row in cursor if isinstance(row.get("email"), str)}


async def _suppliers(stores: Stores, ids: list[UUID]) -> dict[UUID, str]:
    if not ids:
        return {}
    rows = await stores.admin.fetch("SELECT id, contact_email FROM suppliers WHERE id = ANY($1)", ids)
    return {row["id"]: row["contact_email"] for row in rows if row["contact_email"]}
