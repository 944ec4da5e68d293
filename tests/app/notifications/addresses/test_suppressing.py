"""Addresses that get no mail: why, of what kind, until when; and links by which their owners say so."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from app.errors import ConflictError, NotFoundError
from app.notifications.addresses import suppressing
from app.notifications.addresses.suppressing import Unsubscribing
from app.notifications.templates.content import Kind
from app.stores.connections import Stores
from tests.app.accounts.conftest import facts
from tests.app.notifications.post import ADA, Refusing, ask, make_template, room, row

LINKS = Unsubscribing("https://core.example", b"k" * 32)


async def listed(stores: Stores, **which) -> list[tuple[str, str, str]]:
    page = await suppressing.list_suppressions(stores, **{"limit": 50} | which)
    return [(each.email, each.scope, each.reason) for each in page.items]


async def block(stores: Stores, email: str, scope: suppressing.Scope = "all") -> bool:
    async with stores.core.acquire() as connection, connection.transaction():
        return await suppressing.suppress(
            connection, email, scope, "operator", by="ann", moment=datetime.now(UTC), note="asked to"
        )


async def test_an_address_is_blocked_once_and_the_audit_is_told_no_address(stores: Stores) -> None:
    assert await block(stores, ADA)
    assert not await block(stores, ADA)
    assert await listed(stores, email_key=ADA) == [(ADA, "all", "operator")]
    assert await facts(stores, "notifications:") == ["address:block"]
    assert not await stores.core.fetchval("SELECT count(*) FROM audit_outbox WHERE entry::text LIKE '%ada@%'")


async def test_a_block_is_lifted_by_its_scope(stores: Stores) -> None:
    await block(stores, ADA)
    await suppressing.lift(stores, ADA, "all", by="ann", reason="a mistake")
    assert await listed(stores) == []
    with pytest.raises(NotFoundError):
        await suppressing.lift(stores, ADA, "all", by="ann", reason="a mistake")
    assert await facts(stores, "notifications:") == ["address:block", "address:unblock"]


async def test_the_list_goes_on_where_its_page_ended(stores: Stores) -> None:
    for email in ("a@example.com", "b@example.com"):
        for scope in ("alert", "digest"):
            await block(stores, email, scope)
    first = await suppressing.list_suppressions(stores, limit=3)
    rest = await suppressing.list_suppressions(stores, limit=3, cursor=first.next_cursor)
    assert [(each.email[0], each.scope) for each in [*first.items, *rest.items]] == [
        ("a", "alert"),
        ("a", "digest"),
        ("b", "alert"),
        ("b", "digest"),
    ]
    assert rest.next_cursor is None


async def test_one_click_ends_mails_of_one_kind(stores: Stores) -> None:
    for kind in (Kind.DIGEST, Kind.BOOKING):
        await make_template(stores, kind)
    (asked,) = await ask(stores, kind=Kind.DIGEST)
    for _ in range(2):
        assert await suppressing.unsubscribe(stores, asked, moment=datetime.now(UTC)) == "digest"
    assert await listed(stores) == [(ADA, "digest", "unsubscribe")]
    (booking,) = await ask(stores)
    smtp = Refusing()
    await room(stores, smtp).run_due()
    assert [(await row(stores, each))["state"] for each in (asked, booking)] == ["suppressed", "sent"]
    with pytest.raises(ConflictError):
        await suppressing.unsubscribe(stores, booking, moment=datetime.now(UTC))


def test_a_link_is_read_and_no_other_is() -> None:
    notification = uuid4()
    token = LINKS.url_of(notification).removeprefix("https://core.example/v1/notifications/unsubscribe/")
    assert LINKS.read(token) == notification
    other = "A" if token[3] != "A" else "B"
    for wrong in (token[:3] + other + token[4:], token[:-2], "", "é", "x" * 5, token + "AAAA"):
        with pytest.raises(NotFoundError):
            LINKS.read(wrong)
    with pytest.raises(NotFoundError):
        Unsubscribing("https://core.example", b"l" * 32).read(token)


async def test_a_link_of_a_mail_that_is_forgotten_leads_nowhere(booked: Stores) -> None:
    (asked,) = await ask(booked)
    await booked.core.execute("UPDATE notifications SET email = NULL, email_key = NULL")
    for each in (asked, UUID(int=1)):
        with pytest.raises(NotFoundError):
            await suppressing.unsubscribe(booked, each, moment=datetime.now(UTC))
