"""What is decided about mails over HTTP, against real stores."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from app.accounts.admission import Caller
from app.accounts.mails import Notice
from app.accounts.permissions import Scope
from app.clock import now
from app.errors import ForbiddenError
from app.notifications.asking.account_mails import AccountMails
from app.notifications.ledger.states import State
from app.notifications.ledger.views import NotificationView
from app.stores.connections import Stores
from tests.app.accounts.conftest import SAFE
from tests.web.conftest import OPERATOR, TOKEN
from tests.web.notifications.orders import ALL, order, send, sent
from web.notifications import reach

NOBODY = f"{ALL}/{uuid4()}"
WHY = {"reason": "the launch was called off"}


async def came_to(stores: Stores, mail: str, state: State) -> None:
    """As the workers would leave it."""
    await stores.core.execute(
        "UPDATE notifications SET state = $2, next_at = NULL WHERE id = $1", UUID(mail), state
    )


async def test_a_mail_is_taken_back_and_sent_at_another_time(
    mails: httpx.AsyncClient, woken: list[Any]
) -> None:
    tomorrow = (now() + timedelta(days=1)).isoformat()
    mail = f"{ALL}/{await sent(mails, send_at=tomorrow, not_after=(now() + timedelta(days=2)).isoformat())}"
    woken.clear()
    moved = await mails.post(f"{mail}/reschedule", json={"send_at": "2020-01-01T00:00:00Z"})
    assert (moved.json()["state"], woken) == ("pending", ["delivery"])
    late = (now() + timedelta(days=3)).isoformat()
    assert (await mails.post(f"{mail}/reschedule", json={"send_at": late})).status_code == 422
    assert (await mails.post(f"{mail}/reschedule", json={"send_at": "soon"})).status_code == 422

    cancelled = await mails.post(f"{mail}/cancel", json=WHY)
    assert (cancelled.json()["state"], cancelled.json()["because"]) == ("cancelled", WHY["reason"])
    assert (await mails.post(f"{mail}/cancel", json=WHY)).status_code == 409
    assert (await mails.post(f"{mail}/reschedule", json={"send_at": tomorrow})).status_code == 409
    story = (await mails.get(mail)).json()
    assert [each["state"] for each in story["transitions"]] == ["scheduled", "pending", "cancelled"]
    assert {each["caused_by"] for each in story["transitions"]} == {OPERATOR.name}
    assert story["attempts"] == story["callbacks"] == []


async def test_a_mail_that_did_not_go_is_sent_again_as_another_one(
    mails: httpx.AsyncClient, stores: Stores
) -> None:
    mail = await sent(mails)
    assert "it is pending" in (await mails.post(f"{ALL}/{mail}/retry", json=WHY)).json()["detail"]
    await came_to(stores, mail, State.FAILED)
    again = await mails.post(f"{ALL}/{mail}/retry", json=WHY)
    assert (again.status_code, again.headers["location"]) == (201, f"{ALL}/{again.json()['id']}")
    assert (again.json()["retry_of"], again.json()["state"]) == (mail, "pending")
    assert (await mails.get(f"{ALL}/{mail}")).json()["retried_as"] == again.json()["id"]
    assert (await mails.post(f"{ALL}/{mail}/retry", json=WHY)).status_code == 409


async def test_what_may_have_gone_is_an_operators_to_decide(
    mails: httpx.AsyncClient, stores: Stores, callers: dict[str, Caller]
) -> None:
    first, second = await sent(mails), await sent(mails)
    assert (await mails.post(f"{ALL}/{first}/resolve", json=WHY | {"state": "sent"})).status_code == 409
    for mail in (first, second):
        await came_to(stores, mail, State.UNKNOWN)
    callers[TOKEN] = msgspec.structs.replace(OPERATOR, scopes=frozenset(Scope) - {Scope.QUEUES_OPERATE})
    refused = [
        await mails.post(f"{ALL}/{first}/resolve", json=WHY | {"state": "sent"}),
        await mails.post(f"{ALL}/{first}/retry", json=WHY),
        await mails.post(f"{ALL}/retry", json=WHY | {"state": "unknown"}),
    ]
    assert [each.status_code for each in refused] == [403] * 3
    callers[TOKEN] = OPERATOR
    settled = await mails.post(f"{ALL}/{first}/resolve", json=WHY | {"state": "sent"})
    callers[TOKEN] = msgspec.structs.replace(OPERATOR, scopes=frozenset({Scope.QUEUES_OPERATE}))
    unseen = await mails.post(f"{ALL}/{second}/resolve", json=WHY | {"state": "failed"})
    assert [each.json()["state"] for each in (settled, unseen)] == ["sent", "failed"]
    assert settled.json()["email"]
    assert unseen.json()["email"] is None
    callers[TOKEN] = OPERATOR
    assert (await mails.post(f"{ALL}/{second}/retry", json=WHY)).status_code == 201
    assert (await mails.post(f"{ALL}/{second}/resolve", json=WHY | {"state": "lost"})).status_code == 422


def shop(name: str = "shop", **changes: Any) -> Caller:
    """A service that may have mail sent, and no more."""
    caller = Caller(f"client:{name}", name, frozenset({Scope.NOTIFICATIONS_SEND}))
    return msgspec.structs.replace(caller, **changes)


async def decisions(caller: httpx.AsyncClient, mail: object) -> list[int]:
    """How each of them is answered, the last of which takes a mail back."""
    soon = {"send_at": (now() + timedelta(days=1)).isoformat()}
    calls = (("retry", WHY), ("reschedule", soon), ("cancel", WHY))
    return [(await caller.post(f"{ALL}/{mail}/{each}", json=body)).status_code for each, body in calls]


async def test_a_client_decides_about_what_was_asked_for_through_it_and_nothing_else(
    mails: httpx.AsyncClient, callers: dict[str, Caller]
) -> None:
    users = msgspec.structs.replace(shop(), name="user:1", user=uuid4())
    callers[TOKEN] = users
    asked = [await sent(mails) for _ in range(3)]
    callers[TOKEN] = shop("other")
    assert await decisions(mails, asked[0]) == [403] * 3
    callers[TOKEN] = msgspec.structs.replace(users, client="other")
    assert await decisions(mails, asked[0]) == [403] * 3
    for able, mail in zip((users, shop(), OPERATOR), asked, strict=True):
        callers[TOKEN] = able
        assert await decisions(mails, mail) == [409, 200, 200]


async def test_mail_about_accounts_and_to_operators_is_for_operators_alone_to_decide_about(
    mails: httpx.AsyncClient, stores: Stores, callers: dict[str, Caller]
) -> None:
    settings = stores.settings.model_copy(
        update={"notification_smtp_host": "127.0.0.1", "notification_transport": "smtp"}
    )
    async with stores.core.acquire() as connection, connection.transaction():
        notice = Notice("password", uuid4(), "ada@example.com", now())
        await AccountMails(settings, SAFE).send(connection, notice)
    about = await stores.core.fetchval("SELECT id FROM notifications")
    callers[TOKEN] = shop()
    alert = await sent(mails)
    await stores.core.execute("UPDATE notifications SET kind = 'operations' WHERE id = $1", UUID(alert))
    for mail in (about, alert):
        callers[TOKEN] = shop()
        assert await decisions(mails, mail) == [403] * 3
    # Whoever could be named as the client of mails that nobody asked for would have them all.
    await stores.core.execute("UPDATE notification_batches SET client = 'shop'")
    assert await decisions(mails, about) == [403] * 3
    callers[TOKEN] = OPERATOR
    assert await decisions(mails, about) == [409, 200, 200]
    (listed,) = (await mails.get(ALL, params={"template": "account-notice"})).json()["items"]
    assert listed["email"] is None
    assert listed["recipient_id"]
    assert (await mails.get(f"{ALL}/{about}")).json()["notification"]["email"] == "ada@example.com"


async def test_whoever_may_not_read_mails_sees_no_address(
    mails: httpx.AsyncClient, stores: Stores, callers: dict[str, Caller]
) -> None:
    for scopes, seen in (
        ({Scope.NOTIFICATIONS_SEND}, None),
        ({Scope.NOTIFICATIONS_SEND, Scope.NOTIFICATIONS_READ}, "ada@example.com"),
    ):
        callers[TOKEN] = shop(scopes=frozenset(scopes))
        mail = await sent(mails)
        soon = {"send_at": (now() + timedelta(days=1)).isoformat()}
        answers = [await mails.post(f"{ALL}/{mail}/reschedule", json=soon)]
        answers += [await mails.post(f"{ALL}/{mail}/cancel", json=WHY)]
        await came_to(stores, mail, State.FAILED)
        answers += [await mails.post(f"{ALL}/{mail}/retry", json=WHY)]
        assert [each.json()["email"] for each in answers] == [seen] * 3


async def test_what_comes_to_be_in_doubt_while_somebody_decides_is_not_sent_again(
    mails: httpx.AsyncClient, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = UUID(await sent(mails))
    real = reach.queries.get_notification

    async def late(*given: Any) -> NotificationView:
        view: NotificationView = await real(*given)
        await came_to(stores, str(mail), State.UNKNOWN)
        return view

    monkeypatch.setattr(reach.queries, "get_notification", late)
    client = shop(OPERATOR.client)
    with pytest.raises(ForbiddenError):
        await reach.retry_one(stores, mail, caller=client, reason="again")


async def test_an_address_is_freed_for_a_reason(mails: httpx.AsyncClient) -> None:
    await mails.post(f"{ALL}/suppressions", json={"email": "ada@example.com", "reason": "x"})
    for reason in ("", " ", "y" * 1001):
        asked = {"email": "ada@example.com", "reason": reason}
        assert (await mails.delete(f"{ALL}/suppressions", params=asked)).status_code == 422
    asked = {"email": "ada@example.com", "reason": "they asked"}
    assert (await mails.delete(f"{ALL}/suppressions", params=asked)).status_code == 204


async def test_many_are_sent_again_at_once(mails: httpx.AsyncClient, stores: Stores) -> None:
    recipients = [{"email": f"{name}@example.com"} for name in "abc"]
    placed = (await send(mails, order(recipients=recipients))).json()
    for mail in (*placed["notifications"], other := await sent(mails)):
        await came_to(stores, mail, State.FAILED)
    await stores.core.execute("UPDATE notifications SET data = NULL WHERE email_key = 'c@example.com'")

    wanted = WHY | {"batch": placed["batch"]}
    tried = (await mails.post(f"{ALL}/retry", json=wanted | {"dry_run": True})).json()
    assert tried == {
        "found": placed["notifications"][:2],
        "retried": {},
        "refused": {},
    }  # the third says nothing any more
    done = (await mails.post(f"{ALL}/retry", json=wanted)).json()
    assert list(done["retried"]) == placed["notifications"][:2]
    assert done["refused"] == {}
    rest = (await mails.post(f"{ALL}/retry", json=WHY | {"template": "booking-confirmation"})).json()
    assert list(rest["retried"]) == [other]
    assert (await mails.post(f"{ALL}/retry", json=WHY | {"state": "sent"})).status_code == 422


async def test_what_is_not_there_is_not_found(mails: httpx.AsyncClient) -> None:
    asked = [
        await mails.get(NOBODY),
        await mails.get(f"{ALL}/batches/{uuid4()}"),
        await mails.post(f"{NOBODY}/cancel", json=WHY),
        await mails.post(f"{NOBODY}/reschedule", json={"send_at": "2020-01-01T00:00:00Z"}),
        await mails.post(f"{NOBODY}/retry", json=WHY),
        await mails.post(f"{NOBODY}/resolve", json=WHY | {"state": "sent"}),
    ]
    assert [each.status_code for each in asked] == [404] * 6


async def test_mails_are_listed_by_what_they_are_page_by_page(mails: httpx.AsyncClient) -> None:
    made = [await sent(mails) for _ in range(3)]
    await mails.post(f"{ALL}/{made[0]}/cancel", json=WHY)
    first = (await mails.get(ALL, params={"limit": 2})).json()
    rest = (await mails.get(ALL, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [each["id"] for each in first["items"] + rest["items"]] == made[::-1]
    cancelled = (await mails.get(ALL, params={"status": "cancelled"})).json()
    assert [each["id"] for each in cancelled["items"]] == made[:1]
    assert (await mails.get(ALL, params={"template": "new-launch"})).json()["items"] == []
    assert (await mails.get(ALL, params={"status": "lost"})).status_code == 422
    assert (await mails.get(ALL, params={"email": "nobody"})).status_code == 422


async def test_the_ways_that_mail_goes_are_shown(mails: httpx.AsyncClient) -> None:
    (smtp,) = (await mails.get(f"{ALL}/transports")).json()
    assert (smtp["name"], smtp["state"], smtp["failures"]) == ("smtp", "closed", 0)
