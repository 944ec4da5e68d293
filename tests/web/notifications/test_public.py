"""What is open to whoever has a right signature: the provider's callbacks, and the links to unsubscribe."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from app.clock import now
from app.notifications.addresses.links import unsubscribing_of
from app.notifications.delivering.signatures import HEADER, sign
from app.notifications.ledger.states import State
from app.pages import encode_cursor
from app.stores.connections import Stores
from tests.web.notifications.conftest import CALLBACK_SECRET
from tests.web.notifications.orders import ALL, LAUNCH, sent
from tests.web.notifications.test_deciding import came_to

CALLBACKS = f"{ALL}/callbacks"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def told(mail: str, **changes: Any) -> dict[str, Any]:
    return {"event": "e1", "notification": mail, "kind": "delivered", "at": "2026-11-23T09:00:00Z"} | changes


async def tell(
    provider: httpx.AsyncClient, value: Any, *, secret: str = CALLBACK_SECRET, at: datetime | None = None
) -> httpx.Response:
    body = msgspec.json.encode(value)
    headers = {HEADER: sign(body, [secret], at or now()), "Content-Type": "application/json"}
    provider.headers.pop("authorization", None)
    return await provider.post(CALLBACKS, content=body, headers=headers)


@pytest.fixture
async def gone(mails: httpx.AsyncClient, stores: Stores) -> str:
    """A mail that the provider has taken."""
    mail = await sent(mails, template="new-launch", data=LAUNCH)
    await came_to(stores, mail, State.SENT)
    return mail


async def story(stores: Stores, mail: str) -> Any:
    return await stores.core.fetchrow("SELECT state, because FROM notifications WHERE id = $1", UUID(mail))


async def test_the_provider_tells_that_a_mail_has_arrived(
    mails: httpx.AsyncClient, stores: Stores, gone: str
) -> None:
    first, again = [await tell(mails, told(gone)) for _ in range(2)]
    assert [(each.status_code, each.json()) for each in (first, again)] == [
        (200, {"new": True}), (200, {"new": False}),
    ]  # fmt: skip
    assert (await story(stores, gone))["state"] == "delivered"


async def test_a_bounce_and_a_complaint_block_the_address(
    mails: httpx.AsyncClient, stores: Stores, gone: str
) -> None:
    bounce = told(gone, kind="bounced", detail=f"550 ada@example.com\nunknown {'x' * 100_000}")
    assert (await tell(mails, bounce)).json() == {"new": True}
    row = await story(stores, gone)
    assert (row["state"], row["because"]) == ("failed", f"550 [address] unknown {'x' * 500}"[:500])
    await tell(mails, told(gone, event="e2", kind="complained"))
    rows = await stores.core.fetch("SELECT scope, reason FROM suppressions ORDER BY scope")
    assert [tuple(row) for row in rows] == [
        ("alert", "complaint"), ("all", "hard_bounce"), ("digest", "complaint"),
    ]  # fmt: skip


async def test_what_is_not_signed_as_the_providers_is_refused(
    mails: httpx.AsyncClient, stores: Stores, gone: str
) -> None:
    refused = [
        await tell(mails, told(gone), secret="another secret that nobody knows"),
        await tell(mails, told(gone), at=now() - timedelta(minutes=6)),
        await mails.post(CALLBACKS, json=told(gone)),
    ]
    assert [each.status_code for each in refused] == [401] * 3
    assert refused[0].headers["content-type"] == "application/problem+json"
    assert (await story(stores, gone))["state"] == "sent"


async def test_a_callback_that_breaks_the_contract_is_told_why(mails: httpx.AsyncClient, gone: str) -> None:
    assert (await tell(mails, told(str(uuid4())))).status_code == 404
    wrong = await tell(mails, told(gone, kind="opened", at="today"))
    assert [each["where"] for each in wrong.json()["errors"]] == ["kind", "at"]
    assert (await tell(mails, [])).status_code == 422
    assert (await tell(mails, told(gone, event="\0"))).status_code == 422


def link(stores: Stores, mail: str) -> str:
    return unsubscribing_of(stores.settings).url_of(UUID(mail)).removeprefix(stores.settings.issuer_url)


async def test_one_click_ends_mails_of_a_kind_and_looking_does_not(
    mails: httpx.AsyncClient, stores: Stores, gone: str, logged: list[dict[str, Any]]
) -> None:
    del mails.headers["authorization"]
    url = link(stores, gone)
    page = await mails.get(url)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "Unsubscribe from news of launches?" in page.text
    assert 'name="List-Unsubscribe" value="One-Click"' in page.text
    assert await stores.core.fetchval("SELECT count(*) FROM suppressions") == 0
    assert (await mails.post(url)).status_code == 400
    assert (await mails.post(url, data={"List-Unsubscribe": "No"})).status_code == 400

    done = [
        await mails.post(url, data=ONE_CLICK),
        await mails.post(url, files={"List-Unsubscribe": (None, "One-Click")}),
    ]
    assert [each.status_code for each in done] == [200, 200]
    assert "no more news of launches" in done[0].text
    row = await stores.core.fetchrow("SELECT * FROM suppressions")
    assert (row["email_key"], row["scope"], row["reason"]) == ("ada@example.com", "alert", "unsubscribe")
    token = url.rpartition("/")[2]
    assert len(token) > 20
    assert token not in str(logged)


async def test_the_page_speaks_the_language_of_the_mail(mails: httpx.AsyncClient, stores: Stores) -> None:
    mail = await sent(mails, template="new-launch", data=LAUNCH, locale="es-MX")
    page = (await mails.get(link(stores, mail))).text
    assert 'lang="es"' in page
    assert "novedades" in page


async def test_mail_about_ones_own_bookings_cannot_be_ended(mails: httpx.AsyncClient, stores: Stores) -> None:
    url = link(stores, await sent(mails))
    assert [(await mails.get(url)).status_code, (await mails.post(url, data=ONE_CLICK)).status_code] == [
        409,
        409,
    ]
    assert await stores.core.fetchval("SELECT count(*) FROM suppressions") == 0


@pytest.mark.parametrize("token", ["x", "A" * 43, "%F0%9F%92%8C", "%2e%2e", "AA=="])
async def test_a_link_that_is_none_of_ours_leads_nowhere(mails: httpx.AsyncClient, token: str) -> None:
    url = f"{ALL}/unsubscribe/{token}"
    answers = [await mails.get(url), await mails.post(url, data=ONE_CLICK)]
    assert [each.status_code for each in answers] == [404, 404]


async def test_addresses_are_blocked_and_let_free_by_operators(mails: httpx.AsyncClient) -> None:
    path = f"{ALL}/suppressions"
    wanted = {"email": "Ada@Example.com", "reason": "asked by phone", "scope": "digest"}
    made = [await mails.post(path, json=wanted) for _ in range(2)]
    assert [each.status_code for each in made] == [201, 200]
    await mails.post(path, json={"email": "bob@example.com", "reason": "asked by phone"})
    listed = (await mails.get(path, params={"limit": 1})).json()
    rest = (await mails.get(path, params={"cursor": listed["next_cursor"]})).json()
    assert [(each["email"], each["scope"], each["note"]) for each in listed["items"] + rest["items"]] == [
        ("ada@example.com", "digest", "asked by phone"), ("bob@example.com", "all", "asked by phone"),
    ]  # fmt: skip
    freed = {"email": "ADA@example.com", "reason": "wants it again"}
    assert (await mails.delete(path, params=freed)).status_code == 404
    assert (await mails.delete(path, params=freed | {"kind": "digest"})).status_code == 204
    assert (await mails.get(path, params={"email": "ada@example.com"})).json()["items"] == []
    for broken in ({"email": "ada"}, {"email": "a@example.com", "scope": "booking"}, {"reason": ""}):
        assert (
            await mails.post(path, json={"email": "a@b.example", "reason": "x"} | broken)
        ).status_code == 422


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_callback_tells_of_a_time_that_there_is(mails: httpx.AsyncClient, gone: str, at: str) -> None:
    refused = await tell(mails, told(gone, at=at))
    assert (refused.status_code, [each["where"] for each in refused.json()["errors"]]) == (422, ["at"])


async def test_a_form_in_no_charset_is_a_bad_request(mails: httpx.AsyncClient) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=nonsense\r\n\r\nb\r\n--x--\r\n'
    refused = await mails.post(
        f"{ALL}/unsubscribe/x", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert refused.status_code == 400


async def test_the_link_of_a_mail_whose_recipient_is_forgotten_is_not_good_any_more(
    mails: httpx.AsyncClient, stores: Stores, gone: str
) -> None:
    link = unsubscribing_of(stores.settings).url_of(UUID(gone))
    page = link[link.index("/v1") :]
    assert (await mails.get(page)).status_code == 200
    await stores.core.execute(
        "UPDATE notifications SET email = NULL, email_key = NULL WHERE id = $1", UUID(gone)
    )
    assert [(await mails.get(page)).status_code, (await mails.post(page, data=ONE_CLICK)).status_code] == [
        404,
        404,
    ]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (f"{ALL}/suppressions", "all a\0b"),
        ("/v1/schedules/due", "0001-01-01T00:00:00+14:00 a"),
        ("/v1/schedules/due", "9999-12-31T23:59:59-14:00 a"),
        ("/v1/schedules/due", "0001-01-01T00:00:30+00:00 a"),
    ],
)
async def test_a_place_that_cannot_be_is_no_cursor(mails: httpx.AsyncClient, path: str, place: str) -> None:
    refused = await mails.get(path, params={"cursor": encode_cursor(place)})
    assert (refused.status_code, [each["where"] for each in refused.json()["errors"]]) == (422, ["cursor"])
