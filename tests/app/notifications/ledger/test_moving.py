"""Steps from state to state: the row, its transition and its audit fact come together, or none of them."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from app.errors import ConflictError, NotFoundError
from app.notifications.ledger import moving
from app.notifications.ledger.moving import Move
from app.notifications.ledger.states import State
from app.stores.connections import Stores
from tests.app.accounts.conftest import facts
from tests.app.notifications.post import ask, events, row


async def move(stores: Stores, *moves: Move) -> None:
    async with stores.core.acquire() as connection, connection.transaction():
        await moving.lock(connection, [each.id for each in moves])
        await moving.move_all(connection, moves, by="ann", moment=datetime.now(UTC), reason="so")


async def test_a_step_is_told_three_times_over(booked: Stores) -> None:
    (asked,) = await ask(booked)
    await move(booked, Move(asked, State.PENDING, State.CANCELLED, "not wanted"))
    moved = await row(booked, asked)
    assert (moved["state"], moved["because"], moved["next_at"], moved["version"]) == (
        "cancelled",
        "not wanted",
        None,
        2,
    )
    assert await events(booked, asked) == ["pending", "cancelled"]
    assert (await facts(booked, "notifications:"))[-1] == "notification:move"


async def test_where_one_step_has_no_way_none_is_carried_out(booked: Stores) -> None:
    one, two = await ask(booked, "a@example.com", "b@example.com")
    with pytest.raises(ConflictError, match="is cancelled, and cannot become sent"):
        await move(booked, Move(one, State.PENDING, State.EXPIRED), Move(two, State.CANCELLED, State.SENT))
    assert await events(booked, one) == ["pending"]


async def test_whose_turn_is_locked_by_another_is_left_out_or_waited_for(booked: Stores) -> None:
    one, two = await ask(booked, "a@example.com", "b@example.com")
    async with booked.core.acquire() as first, first.transaction():
        await moving.lock(first, [one])
        async with booked.core.acquire() as second, second.transaction():
            assert set(await moving.lock(second, [two, one], skip_locked=True)) == {two}


async def test_what_is_not_there_is_not_found(booked: Stores) -> None:
    async with booked.core.acquire() as connection:
        with pytest.raises(NotFoundError):
            await moving.lock_one(connection, uuid4())
