"""Finding mails, and the whole story of one."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app.errors import InvalidInputError, NotFoundError
from app.notifications.asking import deciding
from app.notifications.delivering import callbacks
from app.notifications.delivering.transports.transport import Accepted, Refused, Retry
from app.notifications.ledger import queries
from app.notifications.ledger.queries import Filters
from app.notifications.ledger.states import State
from app.notifications.templates.content import Kind
from app.stores.connections import Stores
from tests.app.accounts.conftest import Time
from tests.app.notifications.post import ADA, PEOPLE, Refusing, ask, make_template, room


async def test_a_list_is_filtered_and_goes_on_where_its_page_ended(booked: Stores, time: Time) -> None:
    first = await ask(booked, *PEOPLE[:3])
    (later,) = await ask(booked, send_at=time() + timedelta(days=1))
    page = await queries.list_notifications(booked, Filters(), limit=3)
    rest = await queries.list_notifications(booked, Filters(), limit=3, cursor=page.next_cursor)
    assert [each.id for each in [*page.items, *rest.items]] == [later, *reversed(first)]
    assert rest.next_cursor is None
    batch = page.items[0].batch
    for filters in (
        Filters(state=State.SCHEDULED),
        Filters(email_key=ADA),
        Filters(batch=batch),
        Filters(batch=batch, state=State.SCHEDULED, template="booking"),
    ):
        assert [each.id for each in (await queries.list_notifications(booked, filters)).items] == [later], (
            filters
        )
    for filters in (Filters(template="other"), Filters(recipient=uuid4()), Filters(schedule="x")):
        assert (await queries.list_notifications(booked, filters)).items == []
    with pytest.raises(InvalidInputError):
        await queries.list_notifications(booked, Filters(), cursor="nonsense")


async def test_the_story_of_a_mail_tells_why_it_went(booked: Stores, time: Time) -> None:
    (asked,) = await ask(booked, metadata={"booking": "b-1"}, moment=time())
    answers = iter([Retry("451", "busy", of_service=False), Accepted(provider_id="p-1")])
    smtp = Refusing(lambda _: next(answers))
    await room(booked, smtp, time=time).run_due()
    time.passes(timedelta(minutes=1))
    await room(booked, smtp, time=time).run_due()
    told = callbacks.Callback("e1", asked, "delivered", time())
    await callbacks.take(booked, told, moment=time())
    story = await queries.get_story(booked, asked)
    assert (story.caused_by, story.metadata, story.data) == ("shop", {"booking": "b-1"}, {"name": "Ada"})
    assert story.provider_id == "p-1"
    assert [(each.state, each.caused_by) for each in story.transitions] == [
        ("pending", "shop"),
        ("sending", "core"),
        ("sent", "core"),
        ("delivered", "provider"),
    ]
    assert [(each.outcome, each.code) for each in story.attempts] == [("retry", "451"), ("accepted", None)]
    assert story.attempts[0].retry_at
    assert story.attempts[0].handed_at
    assert [each.kind for each in story.callbacks] == ["delivered"]
    assert story.body
    assert (story.body.subject, story.notification.attempts) == ("Hello Ada", 2)


async def test_and_why_it_did_not(booked: Stores) -> None:
    first, second = await ask(booked), await ask(booked)
    await room(booked, Refusing(lambda _: Refused("550", "gone", hard_bounce=True)), at_once=1).run_due()
    refused, held = [await queries.get_story(booked, each) for (each,) in (first, second)]
    assert (refused.notification.state, refused.notification.because) == ("failed", "550 gone")
    assert (held.notification.because, held.suppressed_by) == (
        "the address is blocked: hard_bounce",
        "hard_bounce",
    )
    answer = await deciding.retry(booked, first, by="ann", reason="why not", moment=datetime.now(UTC))
    assert (await queries.get_story(booked, first[0])).retried_as == answer.retried[first[0]]
    retried = await queries.get_story(booked, answer.retried[first[0]])
    assert retried.transitions[0].because == f"retry of {first[0]}: why not"


async def test_what_a_mail_about_an_account_says_is_shown_to_nobody(stores: Stores) -> None:
    await make_template(stores, Kind.SECURITY)
    (asked,) = await ask(stores, kind=Kind.SECURITY, data={"name": "a-token"})
    await room(stores, Refusing()).run_due()
    story = await queries.get_story(stores, asked)
    assert (story.data, story.body) == (None, None)


async def test_what_is_not_there_is_not_found(stores: Stores) -> None:
    with pytest.raises(NotFoundError):
        await queries.get_story(stores, uuid4())
