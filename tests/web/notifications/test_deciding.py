"""What is decided about mails over HTTP, against real stores."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec

from app.accounts.admission import Caller
from app.accounts.permissions import Scope
from app.clock import now
from app.notifications.states import State
from app.stores.connections import Stores
from tests.web.conftest import OPERATOR, TOKEN
from tests.web.notifications.orders import ALL, order, send, sent

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
    settled = [
        await mails.post(f"{ALL}/{mail}/resolve", json=WHY | {"state": state})
        for mail, state in ((first, "sent"), (second, "failed"))
    ]
    assert [each.json()["state"] for each in settled] == ["sent", "failed"]
    assert (await mails.post(f"{ALL}/{second}/retry", json=WHY)).status_code == 201
    assert (await mails.post(f"{ALL}/{second}/resolve", json=WHY | {"state": "lost"})).status_code == 422


async def test_many_are_sent_again_at_once(mails: httpx.AsyncClient, stores: Stores) -> None:
    recipients = [{"email": f"{name}@example.com"} for name in "abc"]
    placed = (await send(mails, order(recipients=recipients))).json()
    for mail in (*placed["notifications"], other := await sent(mails)):
        await came_to(stores, mail, State.FAILED)
    await stores.core.execute("UPDATE notifications SET data = NULL WHERE email_key = 'c@example.com'")

    wanted = WHY | {"batch": placed["batch"]}
    tried = (await mails.post(f"{ALL}/retry", json=wanted | {"dry_run": True})).json()
    assert tried == {"found": placed["notifications"], "retried": {}, "refused": {}}
    done = (await mails.post(f"{ALL}/retry", json=wanted)).json()
    assert list(done["retried"]) == placed["notifications"][:2]
    assert done["refused"] == {placed["notifications"][2]: "what it was filled with is erased"}
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
