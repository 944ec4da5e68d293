"""Circuits, on a real core DB: what opens and closes them, and that one mail at a time tries."""

import asyncio

import msgspec
import pytest

from app.notifications.delivering.circuits import (
    FAILURES,
    FIRST_PAUSE_SECONDS,
    LONGEST_ASKED_SECONDS,
    LONGEST_PAUSE_SECONDS,
    Admission,
    admit,
    pause_after,
    settle,
)
from app.notifications.delivering.transports.transport import (
    Accepted,
    Handed,
    Refused,
    Retry,
    Unknown,
)
from app.notifications.ledger.queries import read_circuits
from app.stores.connections import Stores

AWAY = Retry("connection", "refused")
BUSY = Retry("450", "mailbox busy", of_service=False)


async def hand_over(stores: Stores, handed: Handed | None, times: int = 1) -> None:
    for _ in range(times):
        await settle(stores.core, "smtp", await admit(stores.core, "smtp"), handed)


async def trip(stores: Stores) -> None:
    await hand_over(stores, AWAY, FAILURES)


async def let_pause_end(stores: Stores) -> None:
    await stores.core.execute("UPDATE transport_circuits SET trial_at = now() - interval '1 second'")


async def state(stores: Stores) -> str:
    (view,) = await read_circuits(stores.core, ["smtp"])
    return view.state


async def facts(stores: Stores) -> list[dict]:
    rows = await stores.core.fetch("SELECT entry FROM audit_outbox ORDER BY position")
    return [msgspec.json.decode(row["entry"]) for row in rows]


async def test_a_service_that_never_failed_is_closed_and_lets_everybody_in(stores: Stores) -> None:
    await hand_over(stores, Accepted(), 3)
    assert await admit(stores.core, "smtp") == Admission()
    (view,) = await read_circuits(stores.core, ["smtp"])
    assert (view.state, view.failures, view.changed_at) == ("closed", 0, None)


@pytest.mark.parametrize("failing", [AWAY, Unknown("connection", "no answer")])
async def test_failures_in_a_row_open_the_circuit(stores: Stores, failing: Handed) -> None:
    await hand_over(stores, failing, FAILURES - 1)
    assert await admit(stores.core, "smtp") == Admission(failures=FAILURES - 1)
    await hand_over(stores, failing)
    assert FIRST_PAUSE_SECONDS - 5 < (await admit(stores.core, "smtp")).wait <= FIRST_PAUSE_SECONDS
    assert await admit(stores.core, "http") == Admission(), "another transport goes on"


@pytest.mark.parametrize("other", [Accepted(), BUSY, Refused("550", "no such mailbox", hard_bounce=True)])
async def test_an_answer_about_one_mail_begins_the_count_anew(stores: Stores, other: Handed) -> None:
    await hand_over(stores, AWAY, FAILURES - 1)
    await hand_over(stores, other)
    await hand_over(stores, AWAY, FAILURES - 1)
    assert await state(stores) == "closed"


async def test_an_answer_to_what_was_let_in_before_the_failures_counts_as_well(stores: Stores) -> None:
    early = await admit(stores.core, "smtp")
    await hand_over(stores, AWAY, FAILURES - 1)
    await settle(stores.core, "smtp", early, Accepted())
    await hand_over(stores, AWAY, FAILURES - 1)
    assert await state(stores) == "closed"


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        (600, 600),
        (24 * 3600, LONGEST_ASKED_SECONDS),
        (FIRST_PAUSE_SECONDS - 1, None),
        (None, None),
    ],
)
async def test_a_service_that_asks_to_be_left_alone_is_asked_once(
    stores: Stores, asked: float | None, pause: int | None
) -> None:
    await hand_over(stores, Retry("429", "too many", asked))
    wait = (await admit(stores.core, "smtp")).wait
    assert wait == (pytest.approx(pause, abs=5) if pause else 0)


async def test_a_trial_that_is_told_when_to_come_again_is_the_last_until_then(stores: Stores) -> None:
    for _ in range(2):
        await hand_over(stores, Retry("503", "later", 600))
        assert (await admit(stores.core, "smtp")).wait == pytest.approx(600, abs=5)
        await let_pause_end(stores)
    await hand_over(stores, AWAY)
    assert (await admit(stores.core, "smtp")).wait == pytest.approx(pause_after(3), abs=5)


async def test_where_nothing_has_failed_a_mail_that_goes_well_writes_nothing_down(stores: Stores) -> None:
    early = await admit(stores.core, "smtp")
    await hand_over(stores, AWAY)
    await settle(stores.core, "smtp", early, Accepted(), failing=False)
    (view,) = await read_circuits(stores.core, ["smtp"])
    assert view.failures == 1, "whoever knows of it tells"
    await settle(stores.core, "smtp", await admit(stores.core, "smtp"), Accepted(), failing=False)
    (view,) = await read_circuits(stores.core, ["smtp"])
    assert view.failures == 0


async def test_of_one_mail_that_is_to_wait_the_circuit_knows_nothing(stores: Stores) -> None:
    await hand_over(stores, Retry("409", "under way", 600, of_service=False))
    assert await admit(stores.core, "smtp") == Admission()


async def test_what_never_came_to_the_service_counts_neither_way(stores: Stores) -> None:
    await hand_over(stores, AWAY, FAILURES - 1)
    await hand_over(stores, None)
    assert await state(stores) == "closed"
    await hand_over(stores, AWAY)
    assert await state(stores) == "open"


async def test_after_the_pause_one_of_many_tries(stores: Stores) -> None:
    await trip(stores)
    await let_pause_end(stores)
    admissions = await asyncio.gather(*(admit(stores.core, "smtp") for _ in range(20)))
    assert sum(each.trial is not None for each in admissions) == 1
    assert all(each.wait > 0 for each in admissions if each.trial is None)
    assert await state(stores) == "trial"


async def test_a_trial_that_succeeds_closes_the_circuit_for_everybody(stores: Stores) -> None:
    await trip(stores)
    await let_pause_end(stores)
    await hand_over(stores, Accepted())
    assert await admit(stores.core, "smtp") == Admission()
    (view,) = await read_circuits(stores.core, ["smtp"])
    assert (view.failures, view.openings, view.because, view.trial_at) == (0, 0, None, None)


async def test_a_trial_that_fails_opens_it_for_longer(stores: Stores) -> None:
    await trip(stores)
    for opening in range(2, 5):
        await let_pause_end(stores)
        await hand_over(stores, AWAY)
        wait = (await admit(stores.core, "smtp")).wait
        assert pause_after(opening) - 5 < wait <= pause_after(opening)


async def test_a_trial_that_died_makes_room_and_is_not_heard_later(stores: Stores) -> None:
    await trip(stores)
    await let_pause_end(stores)
    dead = await admit(stores.core, "smtp")
    await let_pause_end(stores)
    second = await admit(stores.core, "smtp")
    assert second.trial not in {None, dead.trial}
    await settle(stores.core, "smtp", dead, Accepted())
    assert await state(stores) == "trial"
    await settle(stores.core, "smtp", dead, AWAY)
    assert await state(stores) == "trial"
    await settle(stores.core, "smtp", second, Accepted())
    assert await state(stores) == "closed"


async def test_a_trial_without_a_mail_leaves_its_place_to_the_next(stores: Stores) -> None:
    await trip(stores)
    await let_pause_end(stores)
    await hand_over(stores, None)
    assert (await admit(stores.core, "smtp")).trial is not None


async def test_what_was_under_way_when_it_opened_changes_nothing(stores: Stores) -> None:
    early = [await admit(stores.core, "smtp") for _ in range(3)]
    await trip(stores)
    for admission, handed in zip(early, [Accepted(), AWAY, BUSY], strict=True):
        await settle(stores.core, "smtp", admission, handed)
    (view,) = await read_circuits(stores.core, ["smtp"])
    assert (view.state, view.failures, view.openings) == ("open", FAILURES, 1)


async def test_opening_and_closing_are_facts_that_say_why(stores: Stores) -> None:
    await trip(stores)
    await let_pause_end(stores)
    await hand_over(stores, Accepted())
    opened, closed = await facts(stores)
    assert (opened["name"], opened["target"], opened["reason"]) == (
        "notifications:circuit:open",
        "smtp",
        "connection refused",
    )
    assert opened["detail"] == {"failures": FAILURES, "seconds": FIRST_PAUSE_SECONDS}
    assert (closed["name"], closed["target"]) == ("notifications:circuit:close", "smtp")


async def test_failures_at_the_same_moment_are_all_counted_and_open_it_once(stores: Stores) -> None:
    admissions = [await admit(stores.core, "smtp") for _ in range(2 * FAILURES)]
    await asyncio.gather(*(settle(stores.core, "smtp", each, AWAY) for each in admissions))
    (view,) = await read_circuits(stores.core, ["smtp"])
    assert (view.state, view.failures, view.openings) == ("open", FAILURES, 1)
    assert len(await facts(stores)) == 1


def test_pauses_double_up_to_their_longest() -> None:
    pauses = [pause_after(openings) for openings in range(1, 1000)]
    assert pauses[:4] == [30, 60, 120, 240]
    assert set(pauses[6:]) == {LONGEST_PAUSE_SECONDS}
