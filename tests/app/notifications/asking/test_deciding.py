"""What is decided about mails: taken back, put to another time, sent again; also while somebody is at it."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.notifications.asking import deciding
from app.notifications.delivering.transports.transport import Accepted, Handed, Refused, Retry, Unknown
from app.notifications.ledger.queries import Filters
from app.notifications.ledger.states import State
from app.stores.connections import Stores
from tests.app.accounts.conftest import Time
from tests.app.notifications.delivering.transports.mail_servers import running
from tests.app.notifications.post import (
    PEOPLE,
    Refusing,
    Wire,
    ask,
    attempts,
    events,
    room,
    row,
    states,
    transport,
)

LATER = timedelta(days=1)


async def cancel(stores: Stores, notification) -> str:
    return (
        await deciding.cancel(stores, notification, by="ann", reason="no", moment=datetime.now(UTC))
    ).state


async def retry(stores: Stores, *notifications) -> deciding.Retried:
    return await deciding.retry(stores, notifications, by="ann", reason="again", moment=datetime.now(UTC))


async def ended(stores: Stores, handed: Handed, *, time: Time | None = None, **more):
    """A mail whose only attempt ended so."""
    (asked,) = await ask(stores, **more)
    await room(stores, Refusing(lambda _: handed, name=more.get("transport", "smtp")), time=time).run_due()
    return asked


async def test_a_mail_that_waits_is_taken_back_and_does_not_go(booked: Stores) -> None:
    (asked,) = await ask(booked)
    assert await cancel(booked, asked) == "cancelled"
    smtp = Refusing()
    await room(booked, smtp).run_due()
    assert smtp.taken == []
    fact = await booked.core.fetchval("SELECT entry FROM audit_outbox ORDER BY position DESC LIMIT 1")
    assert '"reason": "no"' in fact
    with pytest.raises(ConflictError):
        await cancel(booked, asked)
    with pytest.raises(NotFoundError):
        await cancel(booked, uuid4())


async def test_between_two_tries_it_is_taken_back_only_where_nobody_can_have_it(booked: Stores) -> None:
    refused = await ended(booked, Retry("451", "busy", of_service=False))
    assert await cancel(booked, refused) == "cancelled"
    doubtful = await ended(booked, Retry("500", "oops", of_service=False, doubtful=True), transport="http")
    with pytest.raises(ConflictError, match="may have"):
        await cancel(booked, doubtful)


async def test_a_mail_that_is_claimed_and_taken_back_does_not_go(booked: Stores) -> None:
    (asked,) = await ask(booked)

    async def take_back(_: object) -> None:
        assert await cancel(booked, asked) == "cancelled"

    async with running() as server, transport(server.settings()) as smtp:
        await room(booked, Wire(smtp, before=take_back)).run_due()
    assert server.taken == []
    assert await events(booked, asked) == ["pending", "sending", "cancelled"]
    assert await attempts(booked, asked) == [("abandoned", None)]


async def test_on_the_wire_it_cannot_be_taken_back_any_more(booked: Stores) -> None:
    (asked,) = await ask(booked)
    refused: list[str] = []

    async def take_back(_: object) -> None:
        with pytest.raises(ConflictError) as error:
            await cancel(booked, asked)
        refused.append(str(error.value))

    await room(booked, Wire(Refusing(), after=take_back)).run_due()
    assert refused == ["the provider may have the mail already"]
    assert (await row(booked, asked))["state"] == "sent"


async def test_however_taking_back_and_sending_meet_the_state_tells_what_happened(booked: Stores) -> None:
    asked = await ask(booked, *PEOPLE)
    smtp = Refusing()

    async def take_all_back() -> int:
        count = 0
        for each in asked:
            try:
                await cancel(booked, each)
                count += 1
            except ConflictError:
                pass
        return count

    _, cancelled = await asyncio.gather(room(booked, smtp).run_due(), take_all_back())
    found = await states(booked)
    assert found.get("cancelled", 0) == cancelled
    assert found.get("sent", 0) == len(smtp.taken) == len(PEOPLE) - cancelled


async def test_a_mail_is_put_to_another_time_and_back(booked: Stores, time: Time) -> None:
    (asked,) = await ask(booked, moment=time(), not_after=time() + 2 * LATER)
    at = time() + LATER
    moved = await deciding.reschedule(booked, asked, send_at=at, by="ann", moment=time())
    assert (moved.state, moved.send_at, moved.next_at) == ("scheduled", at, at)
    smtp = Refusing()
    await room(booked, smtp, time=time).run_due()
    assert smtp.taken == []
    with pytest.raises(InvalidInputError) as told:
        await deciding.reschedule(booked, asked, send_at=time() + 3 * LATER, by="ann", moment=time())
    assert [each.where for each in told.value.faults] == ["send_at"]
    assert (time() + 2 * LATER).isoformat() in told.value.faults[0].message
    back = await deciding.reschedule(booked, asked, send_at=time() - LATER, by="ann", moment=time())
    assert (back.state, back.next_at) == ("pending", time())
    await room(booked, smtp, time=time).run_due()
    assert len(smtp.taken) == 1
    with pytest.raises(ConflictError):
        await deciding.reschedule(booked, asked, send_at=at, by="ann", moment=time())


@pytest.mark.parametrize("handed", [Refused("554", "no"), Unknown("connection", "no answer")])
async def test_what_has_not_gone_is_sent_again_once_as_a_mail_of_its_own(
    booked: Stores, handed: Handed
) -> None:
    old = await ended(booked, handed)
    before = (await row(booked, old))["state"]
    answer = await retry(booked, old, old)
    new = answer.retried[old]
    assert answer.refused == {}
    assert (await retry(booked, old)).refused == {old: "it was retried before"}
    smtp = Refusing()
    await room(booked, smtp).run_due()
    assert [each.key for each in smtp.taken] == [str(new)]
    assert ((await row(booked, old))["state"], (await row(booked, new))["state"]) == (before, "sent")
    assert (await row(booked, new))["retry_of"] == old


async def test_what_cannot_be_sent_again_is_told_why_and_the_others_go(booked: Stores, time: Time) -> None:
    sent = await ended(booked, Accepted())
    fine = await ended(booked, Refused("554", "no"))
    late = await ended(booked, Refused("554", "no"), not_after=time() + timedelta(hours=1))
    await booked.core.execute("UPDATE notifications SET not_after = now() WHERE id = $1", late)
    erased = await ended(booked, Refused("554", "no"))
    await booked.core.execute("UPDATE notifications SET data = NULL WHERE id = $1", erased)
    nobody = uuid4()
    answer = await retry(booked, sent, fine, late, erased, nobody)
    assert list(answer.retried) == [fine]
    assert answer.refused == {
        sent: "it is sent",
        late: "its time is over",
        erased: "what it was filled with is erased",
        nobody: "there is no such notification",
    }


async def test_those_that_failed_are_found_the_oldest_first_and_none_that_was_retried(booked: Stores) -> None:
    failed = [await ended(booked, Refused("554", "no")) for _ in range(3)]
    unknown = await ended(booked, Unknown("connection", "no answer"))
    assert await deciding.find_failed(booked, Filters(), moment=datetime.now(UTC)) == failed
    assert await deciding.find_failed(booked, Filters(state=State.UNKNOWN), moment=datetime.now(UTC)) == [
        unknown
    ]
    assert await deciding.find_failed(booked, Filters(template="other"), moment=datetime.now(UTC)) == []
    assert await deciding.find_failed(booked, Filters(), limit=2, moment=datetime.now(UTC)) == failed[:2]
    await retry(booked, failed[0])
    assert await deciding.find_failed(booked, Filters(), moment=datetime.now(UTC)) == failed[1:]


async def test_what_cannot_be_retried_any_more_keeps_nothing_else_from_being_found(booked: Stores) -> None:
    erased, late, nobodys, fresh = [await ended(booked, Refused("554", "no")) for _ in range(4)]
    change = "UPDATE notifications SET {} WHERE id = $1"
    await booked.core.execute(change.format("data = NULL, erased_at = now()"), erased)
    await booked.core.execute(change.format("not_after = now()"), late)
    await booked.core.execute(change.format("email = NULL, email_key = NULL"), nobodys)
    assert await deciding.find_failed(booked, Filters(), limit=1, moment=datetime.now(UTC)) == [fresh]
