"""Asking for mail over HTTP, against real stores."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from app.accounts.admission import Caller
from app.accounts.permissions import Scope
from app.clock import now
from app.notifications.asking import ordering
from app.stores.connections import Stores
from app.stores.customer import CustomerDocument
from tests.web.conftest import OPERATOR, TOKEN
from tests.web.notifications.orders import ALL, BOOKING, LAUNCH, order, send, sent


def faults(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    return {each["where"]: each["message"] for each in answer.json()["errors"]}


async def count(stores: Stores, table: str = "notifications") -> int:
    return int(await stores.core.fetchval(f"SELECT count(*) FROM {table}"))


async def test_an_order_becomes_mails_in_the_order_of_its_recipients(
    mails: httpx.AsyncClient, stores: Stores, woken: list[Any]
) -> None:
    recipients = [{"email": f"{name}@example.com", "locale": "es-MX"} for name in "cab"]
    answer = await send(mails, order(recipients=recipients, priority=2, metadata={"saga": "42"}))
    placed = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"{ALL}/batches/{placed['batch']}"
    assert woken == ["delivery"]

    batch = (await mails.get(answer.headers["location"])).json()
    assert (batch["states"], batch["metadata"], batch["caused_by"]) == (
        {"pending": 3}, {"saga": "42"}, OPERATOR.name,
    )  # fmt: skip
    views = [(await mails.get(f"{ALL}/{each}")).json() for each in placed["notifications"]]
    assert [each["notification"]["email"] for each in views] == [each["email"] for each in recipients]
    assert {each["notification"]["locale"] for each in views} == {"es-MX"}
    assert views[0]["data"] == BOOKING
    assert (views[0]["notification"]["priority"], views[0]["metadata"]) == (2, {"saga": "42"})
    names = await stores.core.fetch("SELECT entry ->> 'name' AS name FROM audit_outbox ORDER BY position")
    assert [row["name"] for row in names if "shipped" not in row["name"]][-4:] == [
        "notifications:batch:create", *["notifications:notification:move"] * 3,
    ]  # fmt: skip
    assert "example.com" not in str(await stores.core.fetch("SELECT entry FROM audit_outbox"))


async def test_customers_and_suppliers_are_found_by_id(mails: httpx.AsyncClient, stores: Stores) -> None:
    customer, supplier, nobody = uuid4(), uuid4(), uuid4()
    collection = stores.customer[CustomerDocument.get_collection_name()]
    await collection.insert_one({"_id": customer, "email": "Ada@Example.com"})
    await stores.admin.execute(
        "INSERT INTO suppliers (id, company_name, contact_email) VALUES ($1, 'Selene', 'desk@selene.example')",
        supplier,
    )
    wanted = [{"customer": str(customer)}, {"supplier": str(supplier)}]
    placed = (await send(mails, order(recipients=wanted))).json()
    found = (await mails.get(ALL, params={"batch": placed["batch"]})).json()["items"]
    assert [(each["recipient_kind"], each["email"]) for each in reversed(found)] == [
        ("customer", "Ada@example.com"), ("supplier", "desk@selene.example"),
    ]  # fmt: skip
    told = faults(await send(mails, order(recipients=[*wanted, {"customer": str(nobody)}])))
    assert told == {"recipients/2/customer": "is nobody that we know"}
    by_id = (await mails.get(ALL, params={"recipient": str(customer)})).json()["items"]
    by_email = (await mails.get(ALL, params={"email": "ADA@example.com"})).json()["items"]
    assert len(by_id) == 1
    assert by_id == by_email


async def test_every_fault_is_told_with_its_place_and_nothing_is_kept(
    mails: httpx.AsyncClient, stores: Stores, woken: list[Any]
) -> None:
    wanted = order(
        recipients=[
            {"email": "no address"},
            {"email": "ada@example.com", "customer": str(uuid4())},
            {"email": "bob@example.com", "data": {"booking": {"reference": "x"}, "seat": 7}},
            {"email": "eve@example.com", "locale": "klingon"},
        ],
        data={each: BOOKING[each] for each in ("customer", "booking", "launch")},
        send_at="2027-03-28T02:30:00[Europe/Madrid]",
        not_after="tomorrow",
    )
    told = faults(await send(mails, wanted))
    assert set(told) == {
        "recipients/1", "recipients/2/data/link", "recipients/2/data/booking/seats", "recipients/2/data/seat", "data/link",
        "recipients/3/locale", "send_at", "not_after",
    }  # fmt: skip
    assert "leaves out that day" in told["send_at"]
    assert "recipients/0/email" in faults(await send(mails, order(recipients=wanted["recipients"][:1])))
    assert faults(await send(mails, order(template="nothing")))["template"] == "is none that there is"
    assert [await count(stores, each) for each in ("notifications", "idempotency_keys")] == [0, 0]
    assert woken == []


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"recipients": []}, "recipients"),
        ({"recipients": [{"email": "a@example.com"}] * 1001}, "recipients"),
        ({"recipients": [{"mail": "a@example.com"}]}, "recipients/0/mail"),
        ({"priority": 0}, "priority"),
        ({"metadata": {"a": 1}}, "metadata/a"),
        ({"metadata": {"a\0": "b"}}, "metadata/a\0"),
        ({"send_at": 1}, "send_at"),
        ({"sent_at": "x"}, "sent_at"),
    ],
)
async def test_what_no_order_can_say_is_refused(
    operator: httpx.AsyncClient, changes: dict[str, Any], where: str
) -> None:
    assert list(faults(await send(operator, order(**changes)))) == [where]


async def test_times_lie_ahead_in_the_right_order_and_within_a_year(mails: httpx.AsyncClient) -> None:
    soon, later = ((now() + timedelta(days=days)).isoformat() for days in (1, 2))
    far = (now() + timedelta(days=367)).isoformat()
    assert "not_after" in faults(await send(mails, order(send_at=later, not_after=soon)))
    assert "not_after" in faults(await send(mails, order(not_after="2026-01-01T00:00:00Z")))
    assert "send_at" in faults(await send(mails, order(send_at=far)))
    scheduled = await mails.get(f"{ALL}/{await sent(mails, send_at=soon, not_after=later)}")
    assert scheduled.json()["notification"]["state"] == "scheduled"
    # A time that is over gets nobody ahead.
    at_once = await mails.get(f"{ALL}/{await sent(mails, send_at='2020-01-01T00:00:00Z')}")
    view = at_once.json()["notification"]
    assert (view["state"], view["send_at"]) == ("pending", view["created_at"])


async def test_data_have_room_for_all_recipients_together(mails: httpx.AsyncClient) -> None:
    recipients = [{"email": f"a{each}@example.com"} for each in range(100)]
    told = faults(await send(mails, order(recipients=recipients, data=BOOKING | {"more": "x" * 60_000})))
    assert list(told) == ["data"]
    assert "spread them" in told["data"]


async def test_a_call_counts_once_under_its_key(
    mails: httpx.AsyncClient, stores: Stores, callers: dict[str, Caller]
) -> None:
    bare = await mails.post(ALL, json=order())
    assert bare.status_code == 400
    assert "Idempotency-Key" in bare.json()["detail"]
    assert list(faults(await send(mails, key="a b"))) == ["Idempotency-Key"]

    first, again = [await send(mails, key="one") for _ in range(2)]
    assert again.json() == first.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert list(faults(await send(mails, order(priority=1), key="one"))) == ["Idempotency-Key"]
    assert await count(stores) == 1

    callers[TOKEN] = msgspec.structs.replace(OPERATOR, client="another")
    assert (await send(mails, key="one")).json() != first.json()
    assert await count(stores) == 2


async def test_the_same_call_in_flight_is_a_conflict(
    mails: httpx.AsyncClient, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go = asyncio.Event(), asyncio.Event()
    real = ordering.trigger

    async def held(*given: Any, **named: Any) -> Any:
        entered.set()
        await go.wait()
        return await real(*given, **named)

    monkeypatch.setattr(ordering, "trigger", held)
    first = asyncio.create_task(send(mails, key="one"))
    await entered.wait()
    assert (await send(mails, key="one")).status_code == 409
    go.set()
    assert (await first).status_code == 202
    assert await count(stores) == 1


async def test_an_order_holds_no_connection_while_recipients_are_looked_up(
    mails: httpx.AsyncClient, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, idle = ordering.resolve, []

    async def watched(*given: Any) -> Any:
        idle.append(stores.core.get_idle_size() == stores.core.get_size())
        return await real(*given)

    monkeypatch.setattr(ordering, "resolve", watched)
    assert (await send(mails)).status_code == 202
    assert idle == [True]


async def test_a_disabled_template_sends_nothing_and_those_of_accounts_are_ours_alone(
    mails: httpx.AsyncClient, stores: Stores
) -> None:
    path = "/v1/notification-templates/booking-confirmation"
    await mails.post(f"{path}/disable", json={"reason": "wrong price"})
    refused = await send(mails)
    assert (refused.status_code, refused.json()["instance"]) == (409, path)
    assert "wrong price" in refused.json()["detail"]
    link = {"link": "https://phish.example/", "expires_at": "2027-01-01T00:00:00Z"}
    assert (await send(mails, order(template="reset-password", data=link))).status_code == 403
    assert (await send(mails, order(template="operator-alert"))).status_code == 403
    assert await count(stores) == 0


async def test_an_order_is_looked_at_without_being_placed(mails: httpx.AsyncClient, stores: Stores) -> None:
    await mails.post(
        f"{ALL}/suppressions", json={"email": "ADA@example.com", "scope": "alert", "reason": "x"}
    )
    recipients = [{"email": "ada@example.com", "locale": "es"}, {"email": "bob@example.com"}]
    wanted = order(template="new-launch", data=LAUNCH, recipients=recipients)
    seen = (await mails.post(f"{ALL}/preview", json=wanted)).json()
    assert (seen["recipients"], seen["version"], seen["mail"]["locale"]) == (2, 1, "es")
    assert seen["blocked"] == [{"where": "recipients/0", "message": "the address is blocked: operator"}]
    assert "data/link" in faults(await mails.post(f"{ALL}/preview", json=wanted | {"data": {}}))
    assert await count(stores) == 0


async def test_why_an_address_is_blocked_is_told_to_readers_alone(
    mails: httpx.AsyncClient, callers: dict[str, Caller]
) -> None:
    await mails.post(f"{ALL}/suppressions", json={"email": "ada@example.com", "reason": "x"})
    callers[TOKEN] = msgspec.structs.replace(OPERATOR, scopes=frozenset({Scope.NOTIFICATIONS_SEND}))
    seen = (await mails.post(f"{ALL}/preview", json=order())).json()
    assert seen["blocked"] == [{"where": "recipients/0", "message": "would not get it"}]


async def test_nobody_is_named_twice_in_an_order(mails: httpx.AsyncClient, stores: Stores) -> None:
    customer, supplier = uuid4(), uuid4()
    collection = stores.customer[CustomerDocument.get_collection_name()]
    await collection.insert_one({"_id": customer, "email": "ada@example.com"})
    await stores.admin.execute(
        "INSERT INTO suppliers (id, company_name, contact_email) VALUES ($1, 'Ada', 'ada@example.com')",
        supplier,
    )
    both = [{"customer": str(customer)}, {"supplier": str(supplier)}]
    told = faults(await send(mails, order(recipients=[
        {"email": "ada@example.com"}, *both, {"email": "ADA@Example.com"}, both[1],
    ])))  # fmt: skip
    assert told == {
        "recipients/3": "is the same as recipients/0",
        "recipients/4": "is the same as recipients/2",
    }
    # That two of them read their mail at one address is no fault.
    assert (await send(mails, order(recipients=both))).status_code == 202


async def test_of_very_many_faults_a_hundred_are_told(mails: httpx.AsyncClient) -> None:
    common = {f"a{number}": 0 for number in range(300)}
    recipients = [{"email": f"u{number}@example.com", "data": {"z": 0}} for number in range(60)]
    told = faults(await send(mails, order(data=common, recipients=recipients)))
    assert len(told) == 101
    assert "more" in list(told.values())[-1]
    nobody = [{"email": f"{number}"} for number in range(500)]
    assert len(faults(await send(mails, order(recipients=nobody)))) == 101
    unknown = [{f"{each}-{number}": 0 for number in range(90)} for each in range(1000)]
    assert len(faults(await send(mails, order(recipients=unknown)))) == 101


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ([], 400),
        (["a", "b"], 400),
        (["a", "a"], 400),
        (['"a'], 400),
        (['"a" x'], 400),
        (['""'], 400),
        (["a"], 422),
    ],
)
async def test_the_key_is_looked_at_first_whatever_the_body(
    mails: httpx.AsyncClient, keys: list[str], status: int
) -> None:
    headers = [("Idempotency-Key", each) for each in keys]
    answer = await mails.post(ALL, json={"no": "order"}, headers=headers)
    assert answer.status_code == status, answer.text


async def test_a_key_in_quotes_is_the_same_key(mails: httpx.AsyncClient, stores: Stores) -> None:
    first, again, other = [await send(mails, key=each) for each in ('a"b\\', '"a\\"b\\\\"', '"c"')]
    assert again.json() == first.json() != other.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert await count(stores) == 2


async def test_who_may_read_may_not_send(mails: httpx.AsyncClient, callers: dict[str, Caller]) -> None:
    callers[TOKEN] = msgspec.structs.replace(OPERATOR, scopes=frozenset({Scope.NOTIFICATIONS_READ}))
    assert (await send(mails)).status_code == 403
    assert (await mails.get(ALL)).status_code == 200
