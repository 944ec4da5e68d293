"""Claims on a real core DB: one holder at a time, and what is found where a process has died at each step."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from app.notifications.addresses.recipients import NOWHERE, Resolved
from app.notifications.addresses.suppressing import suppress
from app.notifications.asking.deciding import retry
from app.notifications.asking.triggering import FIRST, Mailing, Order, trigger
from app.notifications.delivering import settling
from app.notifications.delivering.claiming import (
    CLAIMED,
    KEY_KEPT,
    MOST_DEATHS,
    Claim,
    Claimed,
    claim,
    expire,
    next_due,
)
from app.notifications.delivering.settling import About, Ended
from app.notifications.delivering.transports.transport import UNTRIED, UNWRITABLE, Accepted, Refused, Retry
from app.notifications.ledger.forgetting import forget_mails
from app.notifications.templates.catalogue import load_version
from app.notifications.templates.content import Kind
from app.stores.connections import Stores
from tests.app.accounts.conftest import SAFE, Time
from tests.app.notifications.post import (
    ADA,
    PEOPLE,
    ask,
    attempts,
    events,
    let_claims_run_out,
    make_template,
    row,
)


async def take(
    stores: Stores, *, dedupes: bool = False, limit: int = 10, at: datetime | None = None
) -> Claimed:
    return await claim(stores.core, "smtp", limit, dedupes=dedupes, moment=at or datetime.now(UTC))


async def take_one(stores: Stores, **how: bool) -> Claim:
    (found,) = (await take(stores, **how)).claims
    return found


async def mark(stores: Stores, claimed: Claim, at: datetime | None = None) -> bool:
    (marked,) = await settling.mark(stores.core, [About(claimed, None)], at or datetime.now(UTC))
    return marked


async def settle(stores: Stores, ended: Ended) -> None:
    await settling.settle(stores.core, [ended], datetime.now(UTC), lambda: 0.0)


async def test_what_one_has_claimed_nobody_else_gets(booked: Stores) -> None:
    await ask(booked, *PEOPLE)
    taken = await asyncio.gather(*(take(booked, limit=7) for _ in range(6)))
    ids = [each.id for claimed in taken for each in claimed.claims]
    assert len(ids) == len(set(ids))
    assert (await take(booked, limit=100)).looked_at == len(PEOPLE) - len(ids)
    assert (await take(booked)).looked_at == 0


async def test_mails_of_other_transports_are_left_alone(booked: Stores) -> None:
    await ask(booked, transport="http")
    assert (await take(booked)).looked_at == 0
    assert await next_due(booked.core, "smtp") is None
    assert await next_due(booked.core, "http") is not None


# A process dies: before its claim is there, with the claim, after the mark, after the answer.


async def test_a_claim_whose_transaction_did_not_end_has_never_been(booked: Stores, monkeypatch) -> None:
    (asked,) = await ask(booked)

    async def die(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("app.notifications.delivering.claiming._take", die)
        with pytest.raises(ZeroDivisionError):
            await take(booked)
    assert await events(booked, asked) == ["pending"]
    assert (await take_one(booked)).number == 1


@pytest.mark.parametrize("dedupes", [True, False])
async def test_of_whoever_dies_before_the_wire_the_mail_is_taken_over(booked: Stores, dedupes: bool) -> None:
    (asked,) = await ask(booked)
    dead = await take_one(booked)
    assert (await take(booked)).looked_at == 0
    await let_claims_run_out(booked)
    taken = await take_one(booked, dedupes=dedupes)
    assert (taken.number, taken.row["state"]) == (2, "sending")
    assert await attempts(booked, asked) == [("abandoned", None), (None, None)]
    # And whoever was only slow must not hand it over any more.
    assert not await mark(booked, dead)
    assert await mark(booked, taken)


async def test_of_whoever_dies_on_the_wire_it_is_parked_where_it_would_go_twice(booked: Stores) -> None:
    (asked,) = await ask(booked)
    assert await mark(booked, await take_one(booked))
    await let_claims_run_out(booked)
    assert (await take(booked)).claims == []
    parked = await row(booked, asked)
    assert (parked["state"], parked["next_at"]) == ("unknown", None)
    assert "died" in parked["because"]
    assert await attempts(booked, asked) == [("abandoned", None)]


async def test_of_whoever_dies_on_the_wire_it_is_tried_again_where_it_goes_once(booked: Stores) -> None:
    (asked,) = await ask(booked)
    assert await mark(booked, await take_one(booked, dedupes=True))
    await let_claims_run_out(booked)
    assert (await take_one(booked, dedupes=True)).row["doubtful"]
    assert (await row(booked, asked))["state"] == "sending"


@pytest.mark.parametrize("reason", ["time", "template", "address"])
async def test_what_may_have_gone_is_not_said_to_have_been_held_back(
    booked: Stores, reason: str, time: Time
) -> None:
    (asked,) = await ask(booked, moment=time(), not_after=time() + timedelta(minutes=1))
    assert await mark(booked, await take_one(booked, dedupes=True))
    at = time() + timedelta(seconds=30)
    if reason == "time":
        at += timedelta(minutes=1)
    elif reason == "template":
        await booked.core.execute("UPDATE notification_templates SET enabled = false, disabled_because = 'x'")
    else:
        async with booked.core.acquire() as connection:
            await suppress(connection, ADA, "all", "operator", by="test", moment=time())
    await let_claims_run_out(booked)
    assert (await take(booked, dedupes=True, at=at)).claims == []
    parked = await row(booked, asked)
    assert parked["state"] == "unknown"
    assert parked["because"].startswith("it may have gone before; now ")


@pytest.mark.parametrize("again", [True, False])
async def test_what_may_have_gone_goes_again_only_as_long_as_the_provider_knows_its_key(
    booked: Stores, again: bool, time: Time
) -> None:
    (asked,) = await ask(booked, moment=time())
    first = await take_one(booked, dedupes=True)
    assert await mark(booked, first, time())
    await settle(booked, Ended(first, Retry("connection", "no answer", of_service=False, doubtful=True)))
    # Told later to come again after hours, without any doubt.
    await booked.core.execute("UPDATE notifications SET next_at = $1", time())
    second = await take_one(booked, dedupes=True)
    assert await mark(booked, second, time() + timedelta(seconds=10))
    await settle(booked, Ended(second, Retry("503", "later", 80_000.0)))
    late = time() + KEY_KEPT - timedelta(seconds=1 if again else 0)
    await booked.core.execute("UPDATE notifications SET next_at = $1", late)
    assert bool((await take(booked, dedupes=True, at=late)).claims) == again
    parked = await row(booked, asked)
    assert parked["state"] == ("sending" if again else "unknown")
    assert again or "key" in parked["because"]


async def test_an_answer_that_was_not_written_down_is_written_down_once(booked: Stores) -> None:
    (asked,) = await ask(booked)
    claimed = await take_one(booked)
    assert await mark(booked, claimed)
    for _ in range(2):
        await settle(booked, Ended(claimed, Accepted(provider_id="p-1")))
    assert await events(booked, asked) == ["pending", "sending", "sent"]
    assert (await row(booked, asked))["provider_id"] == "p-1"


async def test_what_was_put_back_twice_was_put_back_once(booked: Stores) -> None:
    (asked,) = await ask(booked)
    claimed = await take_one(booked)
    for _ in range(2):
        await settle(booked, Ended(claimed, Retry("451", "busy")))
    waiting = await row(booked, asked)
    assert (waiting["tries"], waiting["attempts"]) == (1, 1)


async def test_what_has_gone_meanwhile_is_not_put_back(booked: Stores) -> None:
    """Its process was frozen, its claim ran out, and it has claimed the mail once more: both come to an end together."""
    (asked,) = await ask(booked)
    first = await take_one(booked, dedupes=True)
    await let_claims_run_out(booked)
    second = await take_one(booked, dedupes=True)
    ends = [Ended(first, Accepted()), Ended(second, None)]
    await settling.settle(booked.core, ends, datetime.now(UTC), lambda: 0.0)
    gone = await row(booked, asked)
    assert (gone["state"], gone["next_at"]) == ("sent", None)


@pytest.mark.parametrize(
    ("code", "state"), [(UNTRIED, "unknown"), (UNWRITABLE, "unknown"), ("550", "failed")]
)
async def test_what_cannot_be_handed_over_again_may_have_gone_before(
    booked: Stores, code: str, state: str
) -> None:
    (asked,) = await ask(booked)
    assert await mark(booked, await take_one(booked, dedupes=True))
    await let_claims_run_out(booked)
    await settle(booked, Ended(await take_one(booked, dedupes=True), Refused(code, "no")))
    assert (await row(booked, asked))["state"] == state


async def test_what_was_not_handed_over_was_no_attempt(booked: Stores) -> None:
    (asked,) = await ask(booked)
    claimed = await take_one(booked)
    await settle(booked, Ended(claimed, None, again_in=30))
    waiting = await row(booked, asked)
    assert (waiting["attempts"], waiting["tries"], waiting["claimed_by"]) == (0, 0, None)
    assert waiting["next_at"] > datetime.now(UTC) + timedelta(seconds=25)
    assert await attempts(booked, asked) == []


async def test_what_was_put_back_keeps_its_place(booked: Stores, time: Time) -> None:
    early, late = [(await ask(booked, moment=time() - timedelta(seconds=seconds)))[0] for seconds in (20, 10)]
    claimed = (await take(booked, limit=1)).claims[0]
    await settle(booked, Ended(claimed, None))
    assert [each.id for each in (await take(booked)).claims] == [early, late]


async def test_what_processes_die_of_is_given_up(booked: Stores) -> None:
    (asked,) = await ask(booked)
    for _ in range(MOST_DEATHS):
        await take_one(booked)
        await let_claims_run_out(booked)
    assert (await take(booked)).claims == []
    ended = await row(booked, asked)
    assert (ended["state"], ended["attempts"]) == ("failed", MOST_DEATHS)
    assert "12 times" in ended["because"]


async def test_what_was_tried_often_is_not_taken_for_deadly(booked: Stores) -> None:
    (asked,) = await ask(booked)
    await booked.core.execute("UPDATE notifications SET attempts = 15, tries = 14")
    assert (await take_one(booked)).id == asked


# What is not to go.


async def test_a_mail_to_somebody_who_was_forgotten_ends(booked: Stores) -> None:
    (asked,) = await ask(booked)
    async with booked.core.acquire() as connection:
        assert await forget_mails(connection, "customers", "nobody", [ADA]) == 1
    assert (await take(booked)).looked_at == 1
    ended = await row(booked, asked)
    assert (ended["state"], ended["because"]) == ("cancelled", "the person was forgotten")


@pytest.mark.parametrize(
    ("user", "because"),
    [
        (None, "nobody may have it: there is no account with the address that was given"),
        (uuid4(), "nobody may have it: another account has the address that was given"),
    ],
)
async def test_a_mail_that_nobody_may_have_ends_and_is_not_sent_again(
    booked: Stores, user: UUID | None, because: str
) -> None:
    async with booked.core.acquire() as connection, connection.transaction():
        to = Mailing(Resolved("user", user, NOWHERE), {"name": "Ada"}, "en")
        order = Order(template=await load_version(connection, "booking"), mailings=[to], transport="smtp")
        made = await trigger(connection, order, by="core", moment=datetime.now(UTC), safe=SAFE)
        await forget_mails(connection, "customers", str(user), [""])
    (asked,) = made.notifications
    assert (await take(booked)).claims == []
    ended = await row(booked, asked)
    assert (ended["state"], ended["because"]) == ("suppressed", because)
    assert (ended["email"], ended["email_key"], ended["recipient_id"]) == (None, None, user)
    again = await retry(booked, [asked], by="operator", reason="why not", moment=datetime.now(UTC))
    assert again.refused == {asked: "nobody may have it"}


@pytest.mark.parametrize(
    ("kind", "scope", "goes"),
    [
        (Kind.BOOKING, "all", False),
        (Kind.BOOKING, "digest", True),
        (Kind.DIGEST, "digest", False),
        (Kind.DIGEST, "alert", True),
    ],
)
async def test_a_blocked_address_gets_nothing_of_what_it_is_blocked_for(
    stores: Stores, kind: Kind, scope: str, goes: bool
) -> None:
    await make_template(stores, kind)
    async with stores.core.acquire() as connection:
        await suppress(connection, ADA, scope, "operator", by="test", moment=datetime.now(UTC))
    (asked,) = await ask(stores, "ADA@Example.com", kind=kind)
    assert bool((await take(stores)).claims) == goes
    assert (await row(stores, asked))["state"] == ("sending" if goes else "suppressed")


async def test_a_mark_is_refused_once_the_time_is_over_or_the_person_forgotten(
    booked: Stores, time: Time
) -> None:
    await ask(booked, moment=time(), not_after=time() + timedelta(minutes=1))
    claimed = await take_one(booked)
    assert not await mark(booked, claimed, time() + timedelta(minutes=1))
    await booked.core.execute("UPDATE notifications SET email = NULL")
    assert not await mark(booked, claimed)


@pytest.mark.parametrize("blocked", ["template", "address"])
async def test_a_mark_is_refused_once_template_or_address_are_blocked(booked: Stores, blocked: str) -> None:
    await ask(booked)
    claimed = await take_one(booked)
    if blocked == "template":
        await booked.core.execute("UPDATE notification_templates SET enabled = false, disabled_because = 'x'")
    else:
        async with booked.core.acquire() as connection:
            await suppress(connection, ADA, "digest", "unsubscribe", by="test", moment=datetime.now(UTC))
            assert await mark(booked, claimed), "of another kind"
            await suppress(connection, ADA, "all", "operator", by="test", moment=datetime.now(UTC))
    assert not await mark(booked, claimed)
    assert await attempts(booked, claimed.id) == [(None, None)]


async def test_a_claim_lasts_and_is_looked_at_when_it_runs_out(booked: Stores, time: Time) -> None:
    await ask(booked, moment=time())
    await take(booked, at=time())
    assert await next_due(booked.core, "smtp") == time() + CLAIMED


async def test_while_a_circuit_is_open_nothing_is_claimed_and_later_one_mail(booked: Stores) -> None:
    await ask(booked, *PEOPLE)
    await booked.core.execute(
        "INSERT INTO transport_circuits (name, state, trial_at) VALUES ('smtp', 'open', now() + interval '1 minute')"
    )
    assert (await take(booked)).looked_at == 0
    assert await next_due(booked.core, "smtp") > datetime.now(UTC) + timedelta(seconds=50)
    await booked.core.execute("UPDATE transport_circuits SET trial_at = now()")
    assert (await take(booked)).looked_at == 1


async def test_mails_that_make_a_service_fail_are_not_the_only_ones_that_try_it(booked: Stores) -> None:
    await ask(booked, *PEOPLE[:10], priority=1)
    await booked.core.execute("UPDATE notifications SET tries = 1, attempts = 1")
    (good,) = await ask(booked, "good@example.com", priority=5)
    (late,) = await ask(
        booked, "late@example.com", priority=5, not_after=datetime.now(UTC) + timedelta(minutes=1)
    )
    await booked.core.execute("UPDATE notifications SET not_after = now() WHERE id = $1", late)
    await booked.core.execute(
        "INSERT INTO transport_circuits (name, state, trial_at) VALUES ('smtp', 'open', now())"
    )
    assert (await take_one(booked)).id == good
    assert (await take_one(booked)).row["priority"] == 1


async def test_nobody_can_order_what_goes_before_mail_about_accounts(booked: Stores) -> None:
    await ask(booked, *PEOPLE[:3], priority=1, moment=datetime.now(UTC) - timedelta(minutes=1))
    (link,) = await ask(booked, priority=FIRST)
    claimed = await take(booked, limit=1)
    assert [each.id for each in claimed.claims] == [link]


# Whose time is over, whatever its transport does.


@pytest.mark.parametrize(
    "waits", ["for a transport that is gone", "for its next try", "behind an open circuit"]
)
async def test_a_mail_whose_time_is_over_ends_also_where_nobody_looks_at_it(
    booked: Stores, waits: str, time: Time
) -> None:
    transport = "gone" if "gone" in waits else "smtp"
    (asked,) = await ask(booked, moment=time(), not_after=time() + timedelta(minutes=5), transport=transport)
    (other,) = await ask(booked, moment=time(), transport=transport)
    if "try" in waits:
        await settle(
            booked, Ended((await take(booked, at=time())).claims[0], Retry("429", "later", 80_000.0))
        )
    if "circuit" in waits:
        await booked.core.execute(
            "INSERT INTO transport_circuits (name, state, trial_at) VALUES ('smtp', 'open', now() + interval '1 hour')"
        )
    assert await expire(booked.core, time() + timedelta(minutes=5) - timedelta(seconds=1)) == 0
    assert await expire(booked.core, time() + timedelta(minutes=5)) == 1
    ended = await row(booked, asked)
    assert (ended["state"], ended["next_at"]) == ("expired", None)
    assert (await row(booked, other))["next_at"] is not None


async def test_what_somebody_holds_does_not_expire_and_what_may_have_gone_is_parked(
    booked: Stores, time: Time
) -> None:
    (asked,) = await ask(booked, moment=time(), not_after=time() + timedelta(minutes=1))
    assert await mark(booked, (await take(booked, at=time())).claims[0], time())
    assert await expire(booked.core, time() + CLAIMED - timedelta(seconds=1)) == 0
    assert await expire(booked.core, time() + CLAIMED) == 1
    parked = await row(booked, asked)
    assert (parked["state"], parked["because"]) == (
        "unknown",
        "it may have gone before; now its time was over before it could go",
    )
    assert await attempts(booked, asked) == [("abandoned", None)]


async def test_mails_expire_in_portions_by_the_clock_of_the_database(booked: Stores, monkeypatch) -> None:
    monkeypatch.setattr("app.notifications.delivering.claiming.PORTION", 3)
    await ask(booked, *PEOPLE[:8], not_after=datetime.now(UTC) + timedelta(hours=1))
    assert await expire(booked.core) == 0
    await booked.core.execute("UPDATE notifications SET not_after = now()")
    assert await expire(booked.core) == 8


async def test_a_mail_that_processes_die_of_takes_no_others_along(booked: Stores, time: Time) -> None:
    poison, *others = await ask(booked, *PEOPLE[:8], moment=time())
    for _ in range(MOST_DEATHS + 1):
        while (claimed := await take(booked, at=time())).looked_at:
            if poison in (each.id for each in claimed.claims):
                break
            for each in claimed.claims:
                await settling.settle(booked.core, [Ended(each, Accepted())], time(), lambda: 0.0)
        time.passes(CLAIMED + timedelta(seconds=1))
    assert (await row(booked, poison))["state"] == "failed"
    assert {(await row(booked, each))["state"] for each in others} == {"sent"}


async def test_one_suspect_is_under_way_at_a_time_and_holds_up_no_others(booked: Stores, time: Time) -> None:
    suspects = await ask(booked, *PEOPLE[:3], moment=time())
    await booked.core.execute("UPDATE notifications SET attempts = 2, next_at = next_at - interval '1 hour'")
    others = await ask(booked, *PEOPLE[3:6], moment=time())
    (alone,) = (await take(booked, at=time())).claims
    assert alone.id in suspects
    claimed = await claim(booked.core, "smtp", 10, dedupes=False, moment=time(), suspects=False)
    assert sorted(each.id for each in claimed.claims) == sorted(others)
