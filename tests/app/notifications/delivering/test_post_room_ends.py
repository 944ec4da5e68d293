"""A worker that is told to end, on a real core DB: what is on the wire is finished, what is known written down, the rest put back."""

import asyncio
from typing import Any

import pytest

from app.notifications.delivering import claiming, post_room
from app.notifications.delivering.claiming import Claimed
from app.notifications.delivering.transports.transport import AboutTo, Handed, Mail, Refused
from app.stores.connections import Stores
from tests.app.notifications.delivering.transports.mail_servers import running
from tests.app.notifications.post import (
    PEOPLE,
    Refusing,
    Wire,
    ask,
    attempts,
    room,
    row,
    states,
    transport,
    until_blocked,
)


async def test_whoever_is_told_to_end_finishes_what_is_on_the_wire_and_puts_the_rest_back(
    booked: Stores,
) -> None:
    on_the_wire, before = await ask(booked, "wire@example.com", "before@example.com")
    reached, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def early(mail) -> None:
        if mail.to.startswith("before"):
            reached.release()
            await asyncio.Event().wait()

    async def late(mail) -> None:
        reached.release()
        await go_on.wait()

    async with running() as server, transport(server.settings()) as smtp:
        task = asyncio.create_task(room(booked, Wire(smtp, before=early, after=late)).run_due())
        await reached.acquire()
        await reached.acquire()
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [each.rcpt_tos for each in server.taken] == [["wire@example.com"]]
        assert (await row(booked, on_the_wire))["state"] == "sent"
        waiting = await row(booked, before)
        assert (waiting["state"], waiting["claimed_by"], waiting["attempts"]) == ("sending", None, 0)
        # Whoever comes next has it at once.
        assert await room(booked, smtp).run_due() is None
    assert len(server.taken) == 2


async def test_what_is_known_when_a_worker_is_told_to_end_is_written_down(booked: Stores) -> None:
    await ask(booked, "first@example.com", "second@example.com")
    go_on, answered = asyncio.Event(), asyncio.Event()

    class TurningDown(Refusing):
        async def hand_over(self, composed: Mail, *, about_to: AboutTo) -> Handed:
            del about_to  # it is turned down before
            if composed.to.startswith("second"):
                await go_on.wait()
                answered.set()
            return Refused("550", "no such user", hard_bounce=True)

    async with booked.core.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE suppressions IN SHARE MODE")
        task = asyncio.create_task(room(booked, TurningDown()).run_due())
        await until_blocked(booked, "%INTO suppressions%")
        go_on.set()
        await answered.wait()
        await asyncio.sleep(0.1)  # how the second ended waits behind the first
        task.cancel()
        await asyncio.sleep(0.1)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await states(booked) == {"failed": 2}
    assert await booked.core.fetchval("SELECT count(*) FROM suppressions") == 2


async def test_what_was_claimed_when_a_worker_is_told_to_end_others_have_at_once(
    booked: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(booked, *PEOPLE[:5])
    committed = asyncio.Event()

    async def claim(*args: Any, **how: Any) -> Claimed:
        """The connection goes back to the pool only after the commit."""
        claimed = await claiming.claim(*args, **how)
        committed.set()
        await asyncio.sleep(0.1)
        return claimed

    monkeypatch.setattr(post_room, "claim", claim)
    task = asyncio.create_task(room(booked, Refusing()).run_due())
    await committed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    rows = await booked.core.fetch(
        "SELECT DISTINCT claimed_by, attempts, next_at <= now() AS due FROM notifications"
    )
    assert [tuple(each) for each in rows] == [(None, 0, True)]
    assert await booked.core.fetchval("SELECT count(*) FROM notification_attempts") == 0


async def test_who_is_told_to_end_puts_mails_back_at_once_though_others_are_just_being_claimed(
    booked: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    (asked,) = await ask(booked)
    hangs, go_on = asyncio.Event(), asyncio.Event()

    async def claim(*args: Any, **how: Any) -> Claimed:
        if await booked.core.fetchval("SELECT count(*) FROM notification_attempts"):
            hangs.set()
            await go_on.wait()
        return await claiming.claim(*args, **how)

    async def wait(_: Mail) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(post_room, "claim", claim)
    task = asyncio.create_task(room(booked, Wire(Refusing(), before=wait)).run_due())
    await hangs.wait()
    task.cancel()
    async with asyncio.timeout(10):
        while await attempts(booked, asked):  # noqa: ASYNC110  (the database tells nobody)
            await asyncio.sleep(0.02)
    assert (await row(booked, asked))["claimed_by"] is None
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await row(booked, asked))["claimed_by"] is None
