"""How fast mail goes, on a real core DB and Redis: circuits that open, and the pace of each transport."""

import asyncio

import pytest

from app.notifications import circuits
from app.notifications.transports.transport import Accepted, Retry
from app.stores.connections import Stores
from tests.app.notifications.post import PEOPLE, Refusing, ask, room, states


async def test_an_open_circuit_stops_one_transport_and_no_other(booked: Stores) -> None:
    await ask(booked, *PEOPLE)
    await ask(booked, *PEOPLE, transport="http")
    smtp = Refusing(lambda _: Retry("connection", "refused"))
    http = Refusing(name="http", dedupes=True)
    waits = await room(booked, {"smtp": smtp, "http": http}, at_once=4).run_due()
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
