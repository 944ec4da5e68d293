"""How fast mail goes, on a real core DB and Redis: circuits that open, and the pace of each transport."""

import asyncio
from datetime import timedelta

import pytest

from app.notifications.delivering import circuits
from app.notifications.delivering.transports.transport import Accepted, Handed, Mail, Retry
from app.notifications.ledger.queries import read_circuits
from app.stores.connections import Stores
from tests.app.accounts.conftest import Time
from tests.app.notifications.delivering.transports.http_receiver import Receiver, receiving
from tests.app.notifications.delivering.transports.mail_servers import Server, running
from tests.app.notifications.post import PEOPLE, Refusing, Wire, ask, room, states, transport


async def test_an_open_circuit_stops_one_transport_and_no_other(booked: Stores) -> None:
    await ask(booked, *PEOPLE)
    await ask(booked, *PEOPLE, transport="http")
    smtp = Refusing(lambda _: Retry("connection", "refused"))
    http = Refusing(name="http", dedupes=True)
    waits, nothing = await asyncio.gather(*(room(booked, each, at_once=4).run_due() for each in (smtp, http)))
    assert nothing is None
    assert len(http.taken) == len(PEOPLE)
    assert circuits.FAILURES <= len(smtp.taken) <= circuits.FAILURES + 4
    # The first of those that were tried come again before the circuit lets anybody try.
    assert waits == pytest.approx(circuits.FIRST_PAUSE_SECONDS, abs=2)


async def test_one_mail_tries_whether_the_service_works_again(booked: Stores) -> None:
    await ask(booked, *PEOPLE)
    smtp = Refusing(lambda _: Retry("connection", "refused"))
    await room(booked, smtp, at_once=4).run_due()
    tried = len(smtp.taken)
    await booked.core.execute("UPDATE transport_circuits SET trial_at = now()")
    await booked.core.execute("UPDATE notifications SET next_at = now()")
    await room(booked, smtp, at_once=4).run_due()
    assert len(smtp.taken) == tried + 1
    await booked.core.execute("UPDATE transport_circuits SET trial_at = now()")
    smtp.answers = lambda _: Accepted()
    await booked.core.execute("UPDATE notifications SET next_at = now() WHERE next_at IS NOT NULL")
    await room(booked, smtp, at_once=4).run_due()
    assert await states(booked) == {"sent": len(PEOPLE)}


async def test_mails_that_make_a_service_fail_do_not_keep_it_from_others(booked: Stores, time: Time) -> None:
    poison, good = PEOPLE[:20], PEOPLE[20:30]
    await ask(booked, *poison, priority=1, transport="http", moment=time())
    await ask(booked, *good, priority=3, transport="http", moment=time())

    def judged(mail: Mail) -> Handed:
        return Retry("500", "a bug") if mail.to in poison else Accepted()

    http = Refusing(judged, name="http", dedupes=True)
    post = room(booked, http, time=time, at_once=5)
    await post.run_due()
    for _ in poison:
        await booked.core.execute("UPDATE transport_circuits SET trial_at = clock_timestamp()")
        time.passes(timedelta(minutes=15))
        await post.run_due()
    assert any(each.to in good for each in http.taken)


@pytest.mark.parametrize("way", ["smtp", "http"])
async def test_a_service_that_is_slow_is_not_taken_for_one_that_fails(booked: Stores, way: str) -> None:
    await ask(booked, *PEOPLE[:10], transport=way)
    serving = running(Server(dot_seconds=0.15)) if way == "smtp" else receiving(Receiver(seconds=0.15))
    async with serving as server, transport(server.settings(timeout_seconds="0.6", connections="1")) as slow:
        assert await room(booked, slow, at_once=10, connections=1).run_due() is None
    assert await states(booked) == {"sent": 10}
    (view,) = await read_circuits(booked.core, [way])
    assert (view.failures, view.openings) == (0, 0)
    assert await booked.core.fetchval("SELECT count(*) FROM notification_attempts") == 10


async def test_what_finds_no_free_connection_for_long_is_put_back_and_was_no_attempt(
    booked: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.notifications.delivering.post_room._PLACE_SECONDS", 0.05)
    await ask(booked, *PEOPLE[:3])
    seen = False

    async def dawdle(_: Mail) -> None:
        nonlocal seen
        async with asyncio.timeout(10):
            while not seen:
                free = "SELECT count(*) FROM notifications WHERE claimed_by IS NULL AND state = 'sending'"
                seen = await booked.core.fetchval(free) == 2
                await asyncio.sleep(0.01)

    smtp = Refusing()
    assert await room(booked, Wire(smtp, after=dawdle), at_once=3, connections=1).run_due() is None
    assert (seen, len(smtp.taken)) == (True, 3)
    assert await booked.core.fetchval("SELECT max(attempts) FROM notifications") == 1


async def test_what_waits_for_a_connection_when_a_circuit_opens_is_not_tried(booked: Stores) -> None:
    await ask(booked, *PEOPLE[:20])
    smtp = Refusing(lambda _: Retry("connection", "refused"))
    await room(booked, smtp, at_once=20, connections=1).run_due()
    assert len(smtp.taken) == circuits.FAILURES


async def test_mails_keep_the_pace_of_the_transport(booked: Stores) -> None:
    await ask(booked, *PEOPLE[:6])
    smtp = Refusing()
    began = asyncio.get_running_loop().time()
    await room(booked, smtp, at_once=3, per_second=4).run_due()
    # Four may go at once, the others follow.
    assert asyncio.get_running_loop().time() - began >= 0.45
    assert len(smtp.taken) == 6


async def test_a_turn_that_is_far_off_is_left_to_a_later_round_and_nothing_spins(booked: Stores) -> None:
    await ask(booked, *PEOPLE)
    smtp = Refusing()
    waits = await room(booked, smtp, at_once=4, per_second=0.001).run_due()
    assert len(smtp.taken) == 1
    assert waits == pytest.approx(1000, abs=5)
    # A whole handful was put back once, and no attempt is made of it.
    assert await booked.core.fetchval("SELECT count(*) FROM notification_attempts") == 1
    assert (await states(booked))["pending"] >= len(PEOPLE) - 6


async def test_a_trial_whose_mail_is_put_back_before_it_began_is_left_to_the_next(
    booked: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(booked)
    await booked.core.execute(
        "INSERT INTO transport_circuits (name, state, trial_at) VALUES ('smtp', 'open', now())"
    )
    admit, taken, go_on = circuits.admit, asyncio.Event(), asyncio.Event()

    async def slowly(*which: object) -> circuits.Admission:
        admission = await admit(*which)
        taken.set()
        await go_on.wait()
        return admission

    monkeypatch.setattr("app.notifications.delivering.circuits.admit", slowly)
    working = asyncio.create_task(room(booked, Refusing()).run_due())
    await taken.wait()
    working.cancel()
    await asyncio.sleep(0.1)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await working
    (circuit,) = await read_circuits(booked.core, ["smtp"])
    assert circuit.state == "open"
    assert (await admit(booked.core, "smtp")).trial
